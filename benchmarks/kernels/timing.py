"""Times of calls on a GPU, with its L2 cache flushed before each."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch

_FLUSHED = 512 * 2**20  # bytes, more than any L2 cache has
_WARM_UP = 5


def gpu_seconds(call: Callable[[], object], repeats: int) -> float:
    """The median over calls of the GPU's time between two marks around each."""
    flush = torch.empty(_FLUSHED, dtype=torch.int8, device="cuda")
    for _ in range(_WARM_UP):
        call()
    marks = []
    for _ in range(repeats):
        flush.zero_()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        marks.append((start, end))
    torch.cuda.synchronize()
    milliseconds = [float(start.elapsed_time(end)) for start, end in marks]
    return median(milliseconds) / 1000


def python_seconds(call: Callable[[], object], repeats: int) -> float:
    """The median time that Python takes to ask for a call's work, which the GPU does meanwhile."""
    for _ in range(_WARM_UP):
        call()
    torch.cuda.synchronize()
    times = []
    for number in range(repeats):
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
        if number % 50 == 49:
            torch.cuda.synchronize()  # so that the queue is never full
    return median(times)


def peak_bytes(call: Callable[[], object]) -> int:
    """Memory that a call takes at most beyond what was taken before it."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def copy_bandwidth(elements: int, dtype: torch.dtype, repeats: int) -> float:
    """Bytes a second, read and written, of a copy of a tensor of this size."""
    source = torch.randn(elements, device="cuda").to(dtype)
    target = torch.empty_like(source)
    seconds = gpu_seconds(lambda: target.copy_(source), repeats)
    return 2 * source.numel() * source.element_size() / seconds
