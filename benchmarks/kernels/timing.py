"""Times of calls on a GPU: its own, with cold caches and the host's work out of the way, and the host's apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

_FLUSHED = 256 * 2**20
"""Bytes that are read and written between calls: several times what any L2 cache holds."""
_WARM_UP = 3
_CYCLES = 2.0e9
"""Cycles of a second that `torch.cuda._sleep` counts, at the most; a GPU that runs slower sleeps longer."""
_LONGEST_WAIT = 2e-3
"""Seconds that the GPU is kept busy at most while the host asks for a call's work."""


@lru_cache(maxsize=1)
def _to_flush(device: int) -> Tensor:
    return torch.zeros(_FLUSHED // 4, dtype=torch.float32, device=f"cuda:{device}")


def gpu_seconds(call: Callable[[], object], repeats: int) -> float:
    """The median time of the GPU alone for a call's work, from its first kernel to its last.

    Before each call the L2 cache is filled with something else, by a kernel that reads and writes, and the GPU is
    kept busy for longer than the host needs to ask for the work, so that launches do not count: short kernels would
    otherwise be as slow as Python. Work that takes the host more than 2 ms to ask for is timed with what is left of
    that.

    Args:
        call: what to time; run a few times before.
        repeats: calls of which the median is taken.
    """
    flush, waiting = _to_flush(torch.cuda.current_device()), min(2.0 * host_seconds(call, 5), _LONGEST_WAIT)
    marks = []
    for _ in range(repeats):
        flush.add_(1.0)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(int(waiting * _CYCLES))
        start.record()
        call()
        end.record()
        marks.append((start, end))
    torch.cuda.synchronize()
    return median(float(start.elapsed_time(end)) for start, end in marks) / 1000


def host_seconds(call: Callable[[], object], repeats: int) -> float:
    """The median time that the host takes to ask for a call's work, with nothing before it in the queue."""
    for _ in range(_WARM_UP):
        call()
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    torch.cuda.synchronize()
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
