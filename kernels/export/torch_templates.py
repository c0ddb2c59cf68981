"""The text of an exported class, which `evonas.kernels.export.torch_source` fills in."""

from __future__ import annotations

CLASS = '''
class {name}(nn.Module):
    """{summary}

{formula}

    The input is (b, c, *positions) of any floating type and memory format, with up to three axes of
    positions, or (b, *positions, c) of any rank if `dim` is -1; so is the output. Values are
    computed in float32, or in float64 for float64 input.

    Args:
        channels: c.
        groups: {groups_doc}
        eps: {eps_doc}
        momentum: {momentum_doc}
        affine: whether to learn `weight` and `bias`, which scale and shift each channel at the end.
        dim: the axis of the channels, 1 or -1.{backend_doc}
    """

    weight: Tensor | None
    bias: Tensor | None
{annotations}
    def __init__(
        self,
        channels: int,
        groups: int = 32,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        dim: int = 1,{backend_argument}
    ) -> None:
        super().__init__()
        if not (channels > 0 and groups > 0 and eps > 0 and 0 <= momentum <= 1):
            raise ValueError("channels, groups and eps must be positive, momentum from 0 to 1")
        if dim not in (1, -1):
            raise ValueError("dim must be 1 or -1"){backend_check}
        self.channels = channels
        self.dim = dim
{settings}
        def vector(value: float) -> Tensor:
            return torch.full((channels,), value, device=device, dtype=dtype)

        self.weight = nn.Parameter(vector(1.0)) if affine else None
        self.bias = nn.Parameter(vector(0.0)) if affine else None
{state}
    def forward(self, x: Tensor) -> Tensor:
        """The layer's value at `x`, (b, c, *positions), or (b, *positions, c) if `dim` is -1."""
        if self.dim == -1:
            if x.dim() < 2 or x.shape[-1] != self.channels:
                raise ValueError(f"expected shape (..., {{self.channels}}), got {{list(x.shape)}}")
            y = self._value(tokens_as_planes(x))
            return y.permute(0, 2, 3, 1).reshape(x.shape).contiguous()
        if not 2 <= x.dim() <= 5 or x.shape[1] != self.channels:
            raise ValueError(f"expected shape (b, {{self.channels}}, ...), got {{list(x.shape)}}")
        return self._value(x) if x.dim() == 4 else self._value(as_planes(x)).reshape(x.shape)

    def _value(self, x: Tensor) -> Tensor:
        """The layer's value at `x`, (b, c, h, w)."""{backend_choice}
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        y = self._graph(x.to(dtype)).expand(x.shape)
        weight, bias = self.weight, self.bias
        if weight is not None and bias is not None:
            y = torch.addcmul(per_channel(bias, dtype), y, per_channel(weight, dtype))
        return laid_out_like(y.to(x.dtype), x)

    def _graph(self, x: Tensor) -> Tensor:
        """The layer before `weight` and `bias`, in a shape that broadcasts to that of `x`."""
{body}

    def extra_repr(self) -> str:
        """The settings, as `print(model)` shows them."""
        text = f"{{self.channels}}{extra}"
        return f"{{text}}, affine={{self.weight is not None}}"
'''

BACKEND = {
    "backend_argument": """
        backend: str = "auto",""",
    "backend_doc": """
        backend: `triton` for kernels, `reference` for PyTorch, or `auto`: kernels on a GPU that Triton knows.""",
    "backend_check": """
        if backend not in ("auto", "reference", "triton"):
            raise ValueError(f"backend must be auto, reference or triton, not {backend!r}")
        if backend == "triton" and triton is None:
            raise ValueError("backend 'triton' needs the package triton")
        self.backend = backend""",
    "backend_choice": """
        if CONDITION:
            return VALUE""",
}
"""The parts of a class that is computed by kernels."""
