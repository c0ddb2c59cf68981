"""How C++ kernels read and write what is constant on planes: one number at a time, or W channels at once.

Where channels lie side by side, W of them are gone over together, and so is what belongs to their planes; elsewhere
a kernel goes over planes one by one.
"""

from __future__ import annotations

from evonas.kernels.printing.dialects import CPP, CPP_VECTORS, Dialect

_SIDE_BY_SIDE = ("plane", "c")
_OF_GROUPS = "c // (C // G)"


def read(address: str, index: str, dialect: Dialect) -> str:
    """The number of plane (b, c), or those of the `left` channels from c on.

    Args:
        address: pointer to the first number of a value.
        index: which of its numbers belongs to channel c of sample b, as in `evonas.kernels.printing.buffer_layout`.
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


def write(address: str, index: str, value: str, dialect: Dialect) -> str:
    """The statement that writes what `read` reads."""
    if dialect is CPP:
        return f"{_element(address, index)} = {value};"
    assert dialect is CPP_VECTORS
    if index in _SIDE_BY_SIDE:
        return f"store({address} + {index}, {value}, left);"
    if index == _OF_GROUPS:
        return f"collect({address}, {value}, c, C / G, left);"
    return f"{_element(address, index)} = {value}[0];"


def _element(address: str, index: str) -> str:
    """`buffer + 2 * planes` and an index as an element of the buffer."""
    buffer, plus, offset = address.partition(" + ")
    return f"{buffer}[{offset}{plus}{index.replace('//', '/').replace('b + c * 0', 'b').replace('c * 0', '0')}]"
