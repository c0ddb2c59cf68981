"""Work that is not timed, in many processes at once: compiling kernels into shared caches, and checking correctness.

Compiling takes longer than measuring, and one process compiles on one core. The caches are in `$EVONAS_CACHE`,
`$TRITON_CACHE_DIR` and `$TORCHINDUCTOR_CACHE_DIR`, where the measuring process finds them.
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
from benchmarks.kernels.shapes import resnet50

_HEADROOM = 8.0
"""The seconds reserved for ending the processes."""
_FIRST = 84
"""The number of items whose kernels are compiled before correctness is checked."""


def tasks(parts: Collection[str]) -> Iterator[Item]:
    """The tasks to do in advance for some parts, the longest and the most important first."""
    wanted = [item for item in items() if item.part in parts]
    if "compiled" in parts:
        yield from (item for item in wanted if item.part == "networks" and "compiled" in item.given["way"])
    ahead = [item for item in wanted if item.part in ("layers", "compiled", "rows")]
    if "networks" in parts and "layers" not in parts:  # whose kernels are those of its layers
        ahead += [item for item in items() if item.part == "layers" and _of_network(item)]
    yield from sorted(ahead[:_FIRST], key=lambda item: item.part != "compiled" and "mode" not in item.given)
    yield from (Item("correctness", case) for case in checks(parts))
    yield from ahead[_FIRST:]
    yield from (item for item in wanted if item.part == "variants")


def _of_network(item: Item) -> bool:
    given = item.given
    return (given["dtype"], given["format"]) == ("bfloat16", "nhwc") and tuple(given["shape"]) in resnet50()


def prepared(
    seconds: float, processes: int, parts: Collection[str], known: set[str], on_row: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Does as many tasks as there is time for, and reports each check as soon as it is done.

    Args:
        seconds: the time after which running tasks are ended.
        processes: how many processes work at once.
        parts: the parts for whose items kernels are compiled.
        known: the keys of checks that have a row already.
        on_row: receives the row of each check.

    Returns:
        The number of tasks, how many were done, the errors of those that failed, and the keys of those not done.
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
                    on_row(row | ({"failed": failed[task.key]} if error is not None else future.result()))
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
    """Makes a process compile on its own, since further processes for each would be too many."""
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def _prepare(part: str, given: dict[str, Any]) -> dict[str, Any]:
    import torch

    from benchmarks.kernels import networks, row_layers, tasks, variants
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
        elif part == "rows":
            row_layers.prepare(given)
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
