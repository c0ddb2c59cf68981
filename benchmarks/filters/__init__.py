"""The cost of the filters.

    python -m benchmarks.filters                     # graphs per second through the cheap filters
    python -m benchmarks.filters price --count 120   # the cost of a rejection by filters that need a network

The first command measures, on one core and in CPU seconds, how many proposals per second go through everything that a
search does before a candidate is trained: sampling, the structural filter, the canonical form, duplicates, the
numerical filter, the functional key and, if enabled, twins. For each of these stages, it prints the number of graphs
judged and rejected, and the time. `--against CHECKOUT` measures another checkout in turns with this one, and compares
the resulting candidates.

The second command trains distinct candidates to the quality test, whatever the filters on workers decide. It prints the
median core-seconds to reject and to score a candidate, and the number of false rejections. When interrupted, the same
command continues.
"""
