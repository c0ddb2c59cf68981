"""Keeps freed memory in the process: training small networks on a CPU otherwise waits for the kernel.

glibc returns a freed tensor of half a megabyte to the system, and the next one is paid for in page
faults, at every operation. Measured on the zoo's layers at (64, 16, 12, 12), forward and backward: 1.2 to
1.9 times faster with the thresholds raised.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h
_THRESHOLD = 1 << 30
_PADDING = 1 << 26


def keep_freed_memory() -> bool:
    """Raises glibc's thresholds for this process; False on systems that have no such setting."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library
    settings = ((_M_MMAP_THRESHOLD, _THRESHOLD), (_M_TRIM_THRESHOLD, _THRESHOLD), (_M_TOP_PAD, _PADDING))
    return all(mallopt(name, value) == 1 for name, value in settings)
