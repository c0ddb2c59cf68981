"""What the search does and why it works, measured on the small anchors.

    python -m benchmarks.science --storage science.db --census census.jsonl

does everything, in hours of two cores; interrupted, the same command goes on where it stopped.
"""
