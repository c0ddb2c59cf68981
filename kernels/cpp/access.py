"""How C++ kernels read and write values that are constant on planes: one number at a time, or W channels at once.

Where channels are adjacent in memory, W of them are processed together, and so are the numbers of their planes.
Elsewhere a kernel processes planes one by one.
"""

from __future__ import annotations

from evonas.kernels.cpp.dialect import CPP, CPP_VECTORS
from evonas.kernels.printing.dialects import Dialect

_SIDE_BY_SIDE = ("plane", "c")
_OF_GROUPS = "c // (C // G)"


def read_expression(address: str, index: str, dialect: Dialect) -> str:
    """The expression for the number of plane (b, c), or for the numbers of the `left` channels from c on.

    Args:
        address: the pointer to the first number of a value.
        index: the index of the number for channel c of sample b, as in `evonas.kernels.printing.buffer_layout`.
        dialect: `CPP` or `CPP_VECTORS`.
    """
    if dialect is CPP:
        return _element(address, index)
    assert dialect is CPP_VECTORS
    if index in _SIDE_BY_SIDE:
        return f"load({address} + {index}, left)"
    if index.endswith(_OF_GROUPS):
        return f"spread({address}{' + b * G' if index != _OF_GROUPS else ''}, c, C / G, left)"
    return f"all({_element(address, index)})"


def write_statement(address: str, index: str, value: str, dialect: Dialect) -> str:
    """The statement that writes `value` to the place that `read_expression` reads."""
    if dialect is CPP:
        return f"{_element(address, index)} = {value};"
    assert dialect is CPP_VECTORS
    if index in _SIDE_BY_SIDE:
        return f"store({address} + {index}, {value}, left);"
    if index == _OF_GROUPS:
        return f"collect({address}, {value}, c, C / G, left);"
    return f"{_element(address, index)} = {value}[0];"


def _element(address: str, index: str) -> str:
    """The element of a buffer at an address such as `buffer + 2 * planes` and an index."""
    buffer, plus, offset = address.partition(" + ")
    return f"{buffer}[{offset}{plus}{index.replace('//', '/').replace('b + c * 0', 'b').replace('c * 0', '0')}]"
