"""Puts a layer through its paces. Needs only torch: `test_export` runs it in an interpreter without evonas."""

import torch


def exercise(layer, state, shape, dtype, channels_last=False):
    """Two training steps, and one in evaluation, of `layer` from `state`: all that can be observed, by name."""
    layer.load_state_dict(state)  # strict: the names must be the same
    seen = {}
    layout = torch.channels_last if channels_last else torch.contiguous_format
    source = torch.Generator().manual_seed(5)

    def random():
        drawn = torch.randn(shape, generator=source, dtype=torch.float64) * 1.5 + 0.25
        return drawn.to(dtype).contiguous(memory_format=layout)

    for step in ("first", "second", "evaluation"):
        layer.train(step != "evaluation")
        x = random().requires_grad_()
        y = layer(x)
        assert y.dtype == dtype
        assert y.stride() == x.stride()
        leaves = {"x": x, **dict(layer.named_parameters())}
        gradients = torch.autograd.grad((y * random()).sum(), leaves.values(), materialize_grads=True)
        seen[f"{step} output"] = y.detach()
        seen |= {f"{step} gradient of {name}": g for name, g in zip(leaves, gradients, strict=True)}
    seen |= {f"final {name}": value.clone() for name, value in layer.state_dict().items()}
    with torch.no_grad():
        seen["without gradients"] = layer(random())
    return seen
