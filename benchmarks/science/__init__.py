"""The study of the search in docs/FIRST_STUDY.md: what it does and why it works, measured on the small anchors.

    python -m benchmarks.science --storage science.db --census census.jsonl

This takes hours on two cores. If it is interrupted, the same command continues.
"""
