"""What the filters cost.

    python -m benchmarks.filters                 # graphs a second through the cheap filters
    python -m benchmarks.filters price --count 120   # what a no costs where a network is needed to say it

The first counts on one core, in processor seconds, how many proposals pass a second through everything that a search
does before a candidate is trained: sampling, the structural filter, the canonical form, duplicates, the numerical
filter, the functional key and, where they are on, twins; and what each of these stages judged, rejected and took.
`--against CHECKOUT` measures another checkout beside this one, in turns, and compares the candidates that come out.

The second trains distinct candidates to the quality test whatever the filters on workers say, and tells the median
core-seconds to reject one and to score one, and how many were rejected falsely. It goes on where it stopped.
"""
