"""`swap`: a layer in the place of the normalisations and activations of somebody's model."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from evonas.errors import UsageError, shorten, unknown
from evonas.language.graph import Graph
from evonas.language.zoo import as_graph
from evonas.layers.layer_factory import AFFINE_ALONE
from evonas.layers.norm_act import NormAct
from evonas.swapping.op_kinds import ACTIVATIONS, LAZY, NORMS, OTHER_NORMS
from evonas.swapping.swap_apply import apply, stand_in
from evonas.swapping.swap_plan import Found, SwapPlan
from evonas.swapping.swap_report import Action, Swapped, SwapReport

_LAZY = "it is lazy: run the model once before the swap"
_OTHER = "not a normalisation of (b, c, h, w)"
LINEAR = ("keep", "affine", "replace")


def swap(
    model: nn.Module,
    layer: Graph | str,
    *,
    linear: str = "keep",
    include: str | Iterable[str] = "*",
    exclude: str | Iterable[str] = (),
    activations: Iterable[type[nn.Module]] = (),
    by_order: bool = True,
    groups: int | None = None,
    eps: float | None = None,
    momentum: float | None = None,
    backend: str = "auto",
) -> SwapReport:
    """Replaces each two-dimensional normalisation and the activation after it by a layer, in place.

    Pairs are found by following values through each module's forward, traced with `torch.fx`: a functional
    activation and an activation module that several places share are found as well. The activation is taken out with
    the normalisation; where a forward applies it as a function, or shares its module with places that keep it, that
    forward is written anew. A normalisation whose output goes anywhere beside the activation is left alone. Where
    a forward cannot be traced, a normalisation that is registered right before an activation counts as a pair if
    the forward mentions each once; the report marks those, and a warning tells of them.

    New layers start afresh, in the mode, on the device and in the type of the normalisation, with its hooks. An
    optimizer made before the swap still holds the old parameters, so make it afterwards.

    Args:
        model: any module that contains normalisations; neither compiled nor distributed yet.
        layer: a graph, a published name or an expression.
        linear: for a normalisation with no activation after it: "keep" it, "affine" for the affine alone, as in the
            EvoNorm release, or "replace" for `layer` there too. The last two take over its weight and bias.
        include, exclude: patterns of module names, such as "layer1.*"; one or several.
        activations: further classes of modules that count as activations.
        by_order: whether the order of modules is trusted where a forward cannot be traced.
        groups: as in `NormAct`; None takes those of a GroupNorm, and 32 elsewhere.
        eps, momentum: as in `NormAct`; None takes those of the normalisation.
        backend: as in `NormAct`.

    Returns:
        What became of each normalisation, and why; `str` of it is for people.

    Raises:
        UsageError: the layer cannot be read, an argument makes no sense, a pattern of `include` fits no
            normalisation, or the model is itself a normalisation, compiled, TorchScript, or distributed.
    """
    graph = as_graph(layer)
    if linear not in LINEAR:
        raise unknown("choice for normalisations without activation", linear, LINEAR)
    wanted, unwanted = _patterns("include", include), _patterns("exclude", exclude)
    extra = tuple(activations)
    for one in extra:
        if not (isinstance(one, type) and issubclass(one, nn.Module)):
            raise UsageError(f"activations should be classes of modules, not {shorten(one)}")
    _check_model(model)
    NormAct(graph, 1, groups or 32, eps or 1e-5, 0.1 if momentum is None else momentum, backend=backend)  # raises early

    plan = SwapPlan(model, (*ACTIVATIONS, *extra), extra, by_order)
    names = {name: norm for norm, name in plan.norms.items()}
    for pattern in wanted:
        if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(f"no normalisation of the model fits {shorten(pattern)}; there are {_listed(names)}")

    def chosen(name: str) -> bool:
        return any(fnmatchcase(name, p) for p in wanted) and not any(fnmatchcase(name, p) for p in unwanted)

    found = plan.find({norm for norm, name in plan.norms.items() if chosen(name)})
    layers: dict[nn.Module, nn.Module] = {}
    rows: list[Swapped] = []
    for norm, what in found.items():
        placed = graph if what.replaced or linear == "replace" else AFFINE_ALONE
        if what.replaced or (what.linear and linear != "keep"):
            layers[norm] = stand_in(norm, placed, groups, eps, momentum, backend, keep_affine=not what.replaced)
        rows.append(_row(plan.norms[norm], norm, what, linear))
    rewritten = apply(model, plan, layers, [what for what in found.values() if what.replaced])
    rows += [
        Swapped(name, type(other).__name__, Action.KEPT, reason=_LAZY if isinstance(other, LAZY) else _OTHER)
        for name, other in model.named_modules()
        if isinstance(other, OTHER_NORMS) and chosen(name)
    ]
    order = {name: place for place, (name, _) in enumerate(model.named_modules())}
    rows.sort(key=lambda row: order[row.name])
    guessed = [row.name for row in rows if not row.certain]
    if guessed:
        warnings.warn(
            f"{len(guessed)} pairs were found by the order of modules, since their forward cannot be traced: "
            f"{', '.join(guessed)}. Check that the activation follows, or pass by_order=False.",
            stacklevel=2,
        )
    return SwapReport(model, graph.written(), rows, rewritten)


def _row(name: str, norm: nn.Module, what: Found, linear: str) -> Swapped:
    hooks = len(norm._forward_hooks) + len(norm._forward_pre_hooks) + len(norm._backward_hooks)
    notes = (f"its {hooks} hooks now see the layer, activation included",) if hooks else ()
    if what.replaced:
        reason = "" if what.certain else f"by the order of modules, since {what.reason}"
        return Swapped(name, type(norm).__name__, Action.REPLACED, what.activation, reason, notes, what.certain)
    if what.linear and linear != "keep":
        action = Action.AFFINE if linear == "affine" else Action.REPLACED
        return Swapped(name, type(norm).__name__, action, reason=what.reason, notes=notes)
    return Swapped(name, type(norm).__name__, Action.KEPT, reason=what.reason)


def _patterns(name: str, given: str | Iterable[str]) -> Sequence[str]:
    patterns = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise UsageError(f"{name} should be patterns of module names, such as 'layer1.*', not {shorten(patterns)}")
    return patterns


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "none"


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise UsageError(f"a model is a torch.nn.Module, not {shorten(model)}")
    if isinstance(model, NORMS):
        raise UsageError("the model is itself a normalisation; swap the model that contains it")
    if isinstance(model, torch.jit.ScriptModule):
        raise UsageError("a TorchScript model cannot be changed; swap before you script it")
    if any(hasattr(module, "_orig_mod") for module in model.modules()):
        raise UsageError("the model is compiled; swap before torch.compile")
    if isinstance(model, nn.parallel.DistributedDataParallel):
        raise UsageError("the model is distributed already; swap before DistributedDataParallel")
