"""A user's network as an anchor: one that is built with a layer, or an ordinary model that layers are swapped into."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from evonas.errors import UsageError, shorten
from evonas.layers.layer_factory import LayerFactory
from evonas.settings.plugins import errors_in_file
from evonas.swapping.swap import swap
from evonas.workers.anchors.layers import LayerBuilder

CALL = "(layer, *, in_channels, classes), or (in_channels, classes) for an ordinary model"


def logits_of(output: Any, name: str = "the network") -> Tensor:
    """The logits in what a network returns: a tensor; an object or mapping with `logits`; or the first of several.

    A mapping may have `out` instead, as torchvision's networks for segmentation do.

    Raises:
        UsageError: if there are none.
    """
    found = output
    if isinstance(output, Mapping):
        found = next((output[key] for key in ("logits", "out") if key in output), None)
    elif hasattr(output, "logits"):
        found = output.logits
    elif isinstance(output, list | tuple) and output:
        found = output[0]
    if not isinstance(found, Tensor):
        raise UsageError(f"{name} returns {shorten(output)}, in which there are no logits")
    return found


def build_user_network(name: str, found: Any, layer: LayerBuilder, in_channels: int, classes: int) -> nn.Module:
    """The network that a user's function or class makes.

    Args:
        name: what the user calls it, for messages.
        found: the function or class.
        layer: the layers to build it with, or to swap into it.
        in_channels, classes: as for `evonas.workers.anchors.build_anchor`.

    Raises:
        UsageError: its arguments do not fit, it raises an exception, it returns something else, or no layer has a place
            in the ordinary model that it returns.
    """
    path = getattr(sys.modules.get(found.__module__), "__file__", None) or name
    takes_layer, call = _call(name, found, layer, in_channels, classes)
    with errors_in_file(path):
        model = call()
    if not isinstance(model, nn.Module):
        raise UsageError(f"the anchor {name} returned {shorten(model)}, not a torch.nn.Module")
    if not takes_layer:
        _swap(name, model, layer)
    return model


def _call(name: str, found: Any, layer: LayerBuilder, in_channels: int, classes: int) -> tuple[bool, Callable[[], Any]]:
    """Whether a function takes the layer, and the call of it."""
    sizes = {"in_channels": in_channels, "classes": classes}
    ways: list[tuple[bool, tuple[Any, ...], dict[str, Any]]] = [
        (True, (layer,), sizes),
        (True, (), {"layer": layer, **sizes}),
        (False, (), sizes),
        (False, (in_channels, classes), {}),
    ]
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # some objects in C have none
        return True, lambda: found(layer, **sizes)
    for takes_layer, arguments, named in ways:
        try:
            signature.bind(*arguments, **named)
        except TypeError:
            continue
        return takes_layer, lambda: found(*arguments, **named)  # noqa: B023  # returned before the next turn
    raise UsageError(f"the anchor {name} is called with {CALL}, and takes {signature}")


def _swap(name: str, model: nn.Module, layer: LayerBuilder) -> None:
    if not isinstance(layer, LayerFactory):
        raise UsageError(f"the anchor {name} is an ordinary model, into which only layers that are graphs are swapped")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of guesses, which are the same for every candidate
        report = swap(model, layer.graph, eps=layer.eps)
    if not report.replaced:
        reasons = "; ".join(f"{row.name}: {row.reason}" for row in report.kept[:3]) or "it has no normalisation"
        raise UsageError(f"a layer has no place in the anchor {name}: {shorten(reasons, 300)}")
