"""What needs no clock, done in many processes at once: kernels compiled into shared caches, and correctness.

Compiling takes longer than measuring, and one process compiles on one core. Caches lie in `$EVONAS_CACHE`,
`$TRITON_CACHE_DIR` and `$TORCHINDUCTOR_CACHE_DIR`, where the process that measures finds them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from multiprocessing import get_context
from time import monotonic
from typing import Any

from benchmarks.kernels.items import NETWORK_BATCH, Item, checks, items

_HEADROOM = 8.0
"""Seconds left to end processes in."""


_FIRST = 48
"""Items whose kernels are compiled before correctness is looked at."""


def tasks(parts: Collection[str]) -> Iterator[Item]:
    """What is done ahead for some parts, the longest and the most important first."""
    wanted = [item for item in items() if item.part in parts]
    yield from (item for item in wanted if item.part == "networks" and "compiled" in item.given["way"])
    ahead = [item for item in wanted if item.part in ("layers", "compiled")]
    yield from sorted(ahead[:_FIRST], key=lambda item: item.part != "compiled")
    yield from (Item("correctness", case) for case in checks())
    yield from ahead[_FIRST:]
    yield from (item for item in wanted if item.part == "variants")


def prepared(
    seconds: float, processes: int, parts: Collection[str], known: set[str], tell: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Does as much as there is time for, and tells of each check as soon as it is done.

    Args:
        seconds: after which whatever runs is ended.
        processes: how many work at once.
        parts: whose items are compiled for.
        known: keys of checks that have a row.
        tell: takes the row of a check.

    Returns:
        how many tasks were done, how many failed and with what, how many were not come to.
    """
    deadline = monotonic() + seconds - _HEADROOM
    waiting = [task for task in tasks(parts) if task.key not in known]
    total, failed, done = len(waiting), {}, 0
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_alone)
    running: dict[Future[dict[str, Any]], Item] = {}
    try:
        while (waiting or running) and monotonic() < deadline:
            while waiting and len(running) < processes:
                task = waiting.pop(0)
                running[pool.submit(_prepare, task.part, task.given)] = task
            ended, _ = wait(running, max(0.0, deadline - monotonic()), FIRST_COMPLETED)
            for future in ended:
                task, done = running.pop(future), done + 1
                error = future.exception()
                row = {"key": task.key, "part": task.part, **task.given}
                if error is not None:
                    failed[task.key] = f"{type(error).__name__}: {error}"[:300]
                if task.part == "correctness":
                    tell(row | ({"failed": failed[task.key]} if error is not None else future.result()))
    finally:
        for process in list((pool._processes or {}).values()):
            with suppress(OSError):
                process.kill()
        pool.shutdown(wait=False, cancel_futures=True)
    return {
        "tasks": total,
        "done": done,
        "failed": failed,
        "not_done": [task.key for task in (*running.values(), *waiting)],
    }


def _alone() -> None:
    """Each process compiles by itself: as many again for each would be too many."""
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def _prepare(part: str, given: dict[str, Any]) -> dict[str, Any]:
    import torch

    from benchmarks.kernels import networks, tasks, variants
    from benchmarks.kernels.contenders import TYPES, contender

    try:
        if part == "correctness":
            return tasks.correctness(given)
        if part == "networks":
            step = networks.training_step(
                given["layer"], given["way"], "cuda", TYPES[given["dtype"]], NETWORK_BATCH, networks.SIZE
            )
            step()
        elif part == "variants":
            variants.measured(given, 0)
        else:
            x, dy = tasks.input_of(given)
            module = contender(given.get("mode", "ours"), given["layer"], given["shape"][1])
            module(x).backward(dy)
            with torch.no_grad():
                module(x)
        torch.cuda.synchronize()
        return {}
    finally:
        torch.cuda.empty_cache()
