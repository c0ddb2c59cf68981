"""Whether the tests notice: faults of one line are put into copies of the code, one at a time, and tests are run.

    python -m benchmarks.mutants --sample 200 --seed 1            # a random sample; survivors are listed
    python -m benchmarks.mutants --sample 50 --only evonas/judging/selection.py
    python -m benchmarks.mutants --known                          # the faults of known.toml, which have to be noticed

Which tests run which lines is measured first, file by file of tests, and kept under `--cache` for as long as neither
the code nor the file of tests changes. Tests that fail on the code as it is are left out, and said. For each mutant the
tests that run its line are run, the likeliest to fail and the fastest first, until one fails or `--limit` seconds of a
processor are over. What no test has noticed in time, while some were left, is called cut short and counts as not
caught; with a higher limit it is judged again. A test that computes for ten times as long as it usually takes,
and longer than `--patience`, has noticed.

For a known fault the tests that it names are run, and after them what else in their files runs its line.

Each verdict is written as it comes: the same command goes on where it was stopped, with those of the same code and
tests. When tests have changed, what they noticed before is asked again only of files that are others now. Mutants that
are no faults are in `equivalent.toml` with the reason, and are not counted. The checkout itself is never changed. It
needs Linux, or another system with fork.
"""
