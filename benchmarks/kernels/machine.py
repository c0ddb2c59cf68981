"""The properties of the GPU, and its best bandwidth."""

from __future__ import annotations

import subprocess
from typing import Any

import torch

from benchmarks.kernels.contenders import TYPES
from benchmarks.kernels.timing import copy_bandwidth

_MIB = 2**20
_SIZES = (4, 16, 64, 256, 1024, 4096)


def described(repeats: int) -> dict[str, Any]:
    """Multiprocessors, caches, clocks, bandwidth of copies by size in MiB, and the batch norm that PyTorch runs."""
    properties = torch.cuda.get_device_properties()
    bandwidth = {size: copy_bandwidth(size * _MIB // 4, torch.float32, repeats) for size in _SIZES}
    return {
        "multiprocessors": properties.multi_processor_count,
        "L2": properties.L2_cache_size,
        "memory": properties.total_memory,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "clocks": _clocks(),
        "copy_bandwidth": bandwidth,
        "batch_norm": {dtype: batch_norm_backend(TYPES[dtype]) for dtype in TYPES},
    }


def batch_norm_backend(dtype: torch.dtype) -> str:
    """Whose kernels `nn.BatchNorm2d` runs in training on an input of a type, channels last: PyTorch's or cuDNN's."""
    x = torch.randn(8, 64, 14, 14, device="cuda").to(dtype).contiguous(memory_format=torch.channels_last)
    numbers = torch.ones(64, device="cuda")
    found = torch._C._select_batch_norm_backend(x, numbers, numbers, numbers, numbers, True, 1e-5)
    return str(found).rpartition(".")[2]


def _clocks() -> str:
    """The driver's report of clocks and power right after work, or a sentence on why there is none."""
    query = "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.draw,temperature.gpu"
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"nvidia-smi does not answer: {error}"
