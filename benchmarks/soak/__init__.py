"""A soak test: a long search with a fault every minute, and a check that nothing was lost.

    python -m benchmarks.soak run OUT --minutes 60
    python -m benchmarks.soak report OUT

`run` starts `evonas search` and injects the faults of `faults.py`: processes are killed and stopped, the database is
locked, and its disk is full. Whenever the coordinator is gone, the run is resumed. This needs Linux, and root for the
full disk. `report` reads the recorded run, draws the whole search again from its evaluations, trains a sample of the
candidates again, and writes `benchmarks/results/soak.json`, `soak.log` and `soak.svg`.
"""
