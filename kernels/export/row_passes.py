"""Writes the functions with which an exported file runs kernels that go row by row."""

from __future__ import annotations

from evonas.kernels.plan.rows import row_plan_of
from evonas.kernels.triton.rows import RowKernels
from evonas.language.graph import Graph


class RowPasses:
    """The kernels of a layer that is computed row by row, and the functions that run them.

    Attributes:
        suffix: what is appended to the names of both; nothing, since training and evaluation are the same.
        kernels: the text of the kernels.
        in_groups: whether the layer takes statistics over groups.
    """

    suffix = ""

    def __init__(self, graph: Graph) -> None:
        self._rows = RowKernels(row_plan_of(graph))
        self.in_groups = self._rows.plan.has_groups
        self.kernels = "\n\n".join(self._rows.texts(adds=False))

    def functions(self) -> tuple[str, str]:
        """The sources of the functions that run the forward and the backward pass."""
        rows = self._rows
        names = ", ".join(f'"{name}"' for name in rows.densities)
        ahead = [
            "def forward_pass(x: Tensor, shape: Shape, given: Given) -> tuple[Tensor, Tensor]:",
            '    """The layer\'s value, and no numbers: the backward pass computes all anew."""',
            "    y = torch.empty_like(x)",
            '    given = {**given, "x_ptr": x, "y_ptr": y}',
            f"    launch(forward_rows, {self._grid(back=False)}, given)",
            "    return y, x.new_empty(0, dtype=torch.float32)",
        ]
        back = [
            "def backward_pass(",
            "    dy: Tensor, x: Tensor, stats: Tensor, shape: Shape, given: Given",
            ") -> tuple[Tensor, dict[str, Tensor]]:",
            '    """The gradient of x, and those of the parameters by name."""',
            "    dx = torch.empty_like(x)",
            f"    grid = {self._grid(back=True)}",
            f"    parts = x.new_empty((grid[0][0], {len(rows.densities)}, shape.c), dtype=torch.float32)",
            '    given = {**given, "dy_ptr": dy, "dx_ptr": dx, "x_ptr": x, "parts_ptr": parts}',
            "    launch(backward_rows, grid, given)",
            f"    return dx, dict(zip(({names}), parts.sum(0), strict=True))",
        ]
        return "\n".join(ahead), "\n".join(back)

    def _grid(self, back: bool) -> str:
        return f'over_rows(shape, "{self._rows.kind}", {self._rows.heavy}, {back})'
