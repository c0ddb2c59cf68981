"""Times of calls on a GPU: that of the GPU alone, with cold caches, and that of the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

_FLUSHED = 256 * 2**20
"""The bytes that are read and written between calls, several times the size of any L2 cache."""
_WARM_UP = 3
_CYCLES = 2.0e9
"""The most cycles a second that `torch.cuda._sleep` counts; a GPU that runs slower sleeps longer."""
_LONGEST_WAIT = 2e-3
"""The most seconds for which the GPU is kept busy while the host submits the work of a call."""


@lru_cache(maxsize=1)
def _to_flush(device: int) -> Tensor:
    return torch.zeros(_FLUSHED // 4, dtype=torch.float32, device=f"cuda:{device}")


def gpu_seconds(call: Callable[[], object], repeats: int) -> float:
    """The median time in seconds that the GPU alone takes for a call, from its first kernel to its last.

    Before each call a kernel fills the L2 cache with other data, and the GPU is kept busy for longer than the host
    needs to submit the work. So launches do not count; otherwise short kernels would seem as slow as Python. If the
    host needs more than 2 ms to submit the work, the remainder counts.

    Args:
        call: the call to time; it is run a few times first.
        repeats: the number of calls, of which the median is taken.
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
    """The median time in seconds that the host takes to submit the work of a call, with an empty queue."""
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
    """The peak memory of a call in bytes, less the memory that was allocated before it."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def copy_bandwidth(elements: int, dtype: torch.dtype, repeats: int) -> float:
    """The bytes that a copy of a tensor of this size reads and writes in a second."""
    source = torch.randn(elements, device="cuda").to(dtype)
    target = torch.empty_like(source)
    seconds = gpu_seconds(lambda: target.copy_(source), repeats)
    return 2 * source.numel() * source.element_size() / seconds


def timed(
    forward: Callable[[], Sequence[Tensor]], leaves: Sequence[Tensor], gradients: Sequence[Tensor], repeats: int
) -> dict[str, float]:
    """The seconds of the GPU and of the host, forward and forward with backward, and the peak memory of both.

    Args:
        forward: computes some tensors.
        leaves: the tensors whose gradients the backward pass leaves; they have none afterwards.
        gradients: those of the tensors.
        repeats: the number of calls of each timing.
    """

    def both() -> None:
        for leaf in leaves:
            leaf.grad = None
        torch.autograd.backward(tuple(forward()), tuple(gradients))

    both()
    with torch.no_grad():
        found = {"forward": gpu_seconds(forward, repeats), "host_forward": host_seconds(forward, repeats)}
    found |= {"both": gpu_seconds(both, repeats), "host_both": host_seconds(both, repeats)}
    for leaf in leaves:
        leaf.grad = None
    return found | {"peak_bytes": peak_bytes(both)}
