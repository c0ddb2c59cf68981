"""Mutation testing: one-line faults are put into copies of the code, one at a time, and the tests are run.

    python -m benchmarks.mutants --sample 200 --seed 1            # a random sample; survivors are listed
    python -m benchmarks.mutants --sample 50 --only evonas/judging/selection.py
    python -m benchmarks.mutants --known                          # the faults of known.toml, which tests must catch

First, the lines that each test runs are measured, one test file at a time. The results are kept under `--cache` until
the code or the test file changes. Tests that fail on the unchanged code are left out, and listed. For each mutant, the
tests that run its line are run until one fails or `--limit` CPU seconds are over, starting with fast tests that are
likely to fail. If the time is over before all tests have run, the mutant is "cut short" and counts as not caught; with
a higher limit it is judged again. A test also catches a mutant if it computes for ten times as long as usual, and
longer than `--patience`.

For a known fault, the tests that it names are run first, and then the other tests in their files that run its line.

Each verdict is written at once, so the same command continues after an interruption, and reuses verdicts for the same
code and tests. If a test file changes, only the mutants that it caught are judged again. Mutants that are not faults
are in `equivalent.toml` with a reason, and are not counted. The checkout itself is never changed. This needs Linux, or
another system with fork.
"""
