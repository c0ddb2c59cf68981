"""A long search with a fault every minute, and the check that nothing was lost.

    python -m benchmarks.soak run OUT --minutes 60
    python -m benchmarks.soak report OUT

`run` starts `evonas search` and does to it what `faults.py` lists: processes killed and stopped, a database that is
locked or has no room left. Whenever the coordinator is gone, it is resumed. It needs Linux, and root for the disk that
is full. `report` reads what was recorded, draws the whole search again from the recorded evaluations, trains a sample
of its candidates again, and writes `benchmarks/results/soak.json`, `soak.log` and `soak.svg`.
"""
