"""`swap`: replacing the normalisations and activations of a model by a layer, in place."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from evonas.errors import UsageError, shorten, unknown
from evonas.language.graph import Graph
from evonas.language.primitive_table import PRIMITIVES, IndexSet
from evonas.language.zoo import as_graph
from evonas.layers.layer_factory import AFFINE_ALONE, LayerFactory
from evonas.layers.norm_act import NormAct
from evonas.layers.running_values import running_names
from evonas.swapping.fusing import leave_out_of_fusing
from evonas.swapping.op_kinds import ACTIVATIONS, LAZY, NORMS, OTHER_NORMS, looks_like_norm
from evonas.swapping.swap_apply import apply, replacement_layer, replacement_of_tokens
from evonas.swapping.swap_plan import Finding, SwapPlan
from evonas.swapping.swap_report import Action, NormOutcome, SwapReport
from evonas.swapping.swap_tokens import check_causal, find_token_norms, leave_fast_path, outcome_of_tokens

_LAZY = "it is lazy: run the model once before the swap"
_OTHER = "not a normalisation of channels, (b, c, *positions); tokens= replaces those of transformers"
_FROZEN = "it is frozen: its statistics are constants, which no layer has"
_BY_NAME = "a normalisation by its name, but none of PyTorch's normalisations of channels"
LINEAR = ("keep", "affine", "replace")


def swap(
    model: nn.Module,
    layer: Graph | str | LayerFactory | None = None,
    *,
    tokens: Graph | str | LayerFactory | None = None,
    causal: bool | None = None,
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
    """Replace each normalisation of channels, and the activation that follows it, by a layer, in place.

    These are BatchNorm and InstanceNorm of one to three dimensions, SyncBatchNorm and GroupNorm. The norms of
    transformers, LayerNorm and RMSNorm, are replaced by `tokens` where that is given, and kept otherwise. They are
    recognised by what they compute, so those that libraries write themselves are too. No activation is removed with
    them, and their weight and bias are taken over.

    Pairs are found by following values through each module's forward, which is traced with `torch.fx`. So functional
    activations are found, and activation modules that are used in several places. The activation is removed along with
    the normalisation. If a forward applies the activation as a function, or shares its module with places that keep it,
    that forward is rewritten. A module of a library counts as an activation if it computes one. A normalisation is kept
    if its output goes anywhere besides the activation. If a forward cannot be traced, a normalisation that is
    registered right before an activation counts as a pair if the forward mentions each of them once; the report marks
    such guesses, and a warning lists them.

    New layers have fresh parameters, and the mode, device, data type and hooks of the normalisation. An optimizer made
    before the swap still holds the old parameters, so create it afterwards.

    Args:
        model: any module that contains normalisations, and is not compiled or distributed yet.
        layer: a graph, the name of a published layer, or an expression; or a factory, of which the layer for positions
            with an activation is taken, and its `eps` unless one is given. None to replace norms of tokens alone.
        tokens: the layer for the norms of tokens, such as "rmsnorm-c" or "derf"; None to keep them.
        causal: whether no token may depend on later ones; None to tell by the model's own attributes and names.
        linear: what to do with a normalisation that no activation follows: "keep" it; replace it by the "affine" map
            alone, as in the EvoNorm release; or "replace" it by `layer` as well. The last two take over its weight
            and bias.
        include, exclude: one or several patterns of module names, such as "layer1.*".
        activations: additional classes of modules that count as activations.
        by_order: whether to guess pairs from the order of modules if a forward cannot be traced.
        groups: as in `NormAct`; None for those of a GroupNorm, and 32 otherwise.
        eps, momentum: as in `NormAct`; None for those of the normalisation.
        backend: as in `NormAct`.

    Returns:
        A report on what became of each normalisation, and why; `str` formats it for people.

    Raises:
        UsageError: The layer cannot be read, an argument is invalid, a pattern in `include` matches no normalisation,
            the layer for tokens mixes positions although the model is causal, or the model is itself a normalisation,
            compiled, a TorchScript module, or distributed.
    """
    if layer is None and tokens is None:
        raise UsageError(
            "swap needs a layer: for normalisations of channels, or for those of transformers with tokens="
        )
    if isinstance(layer, LayerFactory):
        eps = layer.eps if eps is None else eps
        layer = layer.graph
    graph = None if layer is None else as_graph(layer)
    of_tokens = None if tokens is None else tokens if isinstance(tokens, LayerFactory) else LayerFactory.of(tokens)
    if linear not in LINEAR:
        raise unknown("choice for normalisations without activation", linear, LINEAR)
    wanted, unwanted = _patterns("include", include), _patterns("exclude", exclude)
    extra = tuple(activations)
    for one in extra:
        if not (isinstance(one, type) and issubclass(one, nn.Module)):
            raise UsageError(f"activations must be subclasses of torch.nn.Module, not {shorten(one)}")
    _check_model(model)
    # An invalid setting raises here, before the model is changed.
    for one_graph in (graph, None if of_tokens is None else of_tokens.graph):
        if one_graph is not None:
            NormAct(one_graph, 1, groups or 32, eps or 1e-5, 0.1 if momentum is None else momentum, backend=backend)
    if of_tokens is not None:
        check_causal(model, of_tokens.graph, causal)

    plan = SwapPlan(model, (*ACTIVATIONS, *extra), extra, by_order)
    others = {
        name: module
        for name, module in model.named_modules()
        if module not in plan.norms and (isinstance(module, OTHER_NORMS) or looks_like_norm(module))
        if not isinstance(module, NormAct) or plan.activation_after(module)
    }
    norms_of_tokens = find_token_norms(model, plan) if of_tokens is not None else {}
    others = {name: module for name, module in others.items() if module not in norms_of_tokens}
    reasons = {name: _why_not(other, plan) for name, other in others.items()}
    names = [*plan.norms.values(), *others, *(name for name, _ in norms_of_tokens.values())]
    for pattern in wanted:
        if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(f"no normalisation of the model matches {shorten(pattern)}; it has {_listed(names)}")

    def chosen(name: str) -> bool:
        return any(fnmatchcase(name, p) for p in wanted) and not any(fnmatchcase(name, p) for p in unwanted)

    found = plan.find({norm for norm, name in plan.norms.items() if chosen(name) and graph is not None})
    layers: dict[nn.Module, nn.Module] = {}
    rows: list[NormOutcome] = []
    for module, (name, norm_of_tokens) in norms_of_tokens.items():
        if of_tokens is not None and chosen(name):
            layers[module] = replacement_of_tokens(module, norm_of_tokens, of_tokens, groups, eps, backend)
            rows.append(outcome_of_tokens(name, module, norm_of_tokens))
    for norm, finding in found.items():
        assert graph is not None  # nothing is looked for without a layer
        placed = graph if finding.is_pair or linear == "replace" else AFFINE_ALONE
        if finding.is_pair or (finding.linear and linear != "keep"):
            layers[norm] = replacement_layer(
                norm, placed, groups, eps, momentum, backend, keep_affine=not finding.is_pair
            )
        rows.append(_outcome(plan.norms[norm], norm, finding, linear, graph))
    rewritten = apply(model, plan, layers, [finding for finding in found.values() if finding.is_pair])
    leave_out_of_fusing(model)
    leave_fast_path(model)
    rows += [
        NormOutcome(name, type(other).__name__, Action.KEPT, reason=reasons[name])
        for name, other in others.items()
        if chosen(name)
    ]
    order = {name: place for place, (name, _) in enumerate(model.named_modules())}
    rows.sort(key=lambda row: order[row.name])
    guessed = [row.name for row in rows if not row.certain]
    if guessed:
        warnings.warn(
            f"{len(guessed)} pairs were guessed from the order of modules, because their forward cannot be traced: "
            f"{', '.join(guessed)}. Check that the activation follows each, or pass by_order=False.",
            stacklevel=2,
        )
    written = [one.written() for one in (graph, None if of_tokens is None else of_tokens.graph) if one is not None]
    return SwapReport(model, "; of tokens ".join(written), rows, rewritten)


def _why_not(other: nn.Module, plan: SwapPlan) -> str:
    """Why a normalisation is none that a layer could replace."""
    if isinstance(other, NormAct):
        return f"a layer already, and {plan.activation_after(other)} follows it: the model activates twice"
    if isinstance(other, LAZY):
        return _LAZY
    if isinstance(other, OTHER_NORMS):
        return _OTHER
    return _FROZEN if "frozen" in type(other).__name__.lower() else _BY_NAME


def _outcome(name: str, norm: nn.Module, finding: Finding, linear: str, graph: Graph) -> NormOutcome:
    hooks = len(norm._forward_hooks) + len(norm._forward_pre_hooks) + len(norm._backward_hooks)
    notes: tuple[str, ...] = (f"its {hooks} hooks now see the layer, including the activation",) if hooks else ()
    notes += _notes_on_statistics(norm, graph)
    if isinstance(norm, nn.BatchNorm1d) and any(
        PRIMITIVES[n.op].index_set is IndexSet.WH for n in graph.nodes if n.args
    ):
        notes += ("if a Linear is before it, so that channels have no positions, statistics over wh are of one value",)
    if finding.is_pair:
        reason = "" if finding.certain else f"guessed from the order of modules, because of {finding.reason}"
        return NormOutcome(
            name, type(norm).__name__, Action.REPLACED, finding.activation, reason, notes, finding.certain
        )
    if finding.linear and linear != "keep":
        action = Action.AFFINE if linear == "affine" else Action.REPLACED
        return NormOutcome(name, type(norm).__name__, action, reason=finding.reason, notes=notes)
    return NormOutcome(name, type(norm).__name__, Action.KEPT, reason=finding.reason)


def _notes_on_statistics(norm: nn.Module, graph: Graph) -> tuple[str, ...]:
    """How the statistics of a layer differ from those that a normalisation keeps, or how they do not."""
    keeps = bool(running_names(graph))
    notes = []
    if isinstance(norm, _BatchNorm) and not norm.track_running_stats and keeps:
        notes.append("it took statistics from the batch in evaluation too; the layer takes running values there")
    if isinstance(norm, _InstanceNorm) and norm.track_running_stats:
        notes.append("its running statistics are not taken over")
    if isinstance(norm, _BatchNorm) and norm.track_running_stats and norm.momentum is None and keeps:
        notes.append("without a momentum, the layer's running values too are plain averages")
    if isinstance(norm, nn.SyncBatchNorm) and keeps:
        notes.append("the layer's statistics are those of all processes too; the reference computes them in training")
    return tuple(notes)


def _patterns(name: str, given: str | Iterable[str]) -> Sequence[str]:
    patterns = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise UsageError(f"{name} must be patterns of module names, such as 'layer1.*', not {shorten(patterns)}")
    return patterns


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "none"


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise UsageError(f"model must be a torch.nn.Module, not {shorten(model)}")
    if isinstance(model, NORMS):
        raise UsageError("the model is itself a normalisation; pass the model that contains it")
    if isinstance(model, torch.jit.ScriptModule):
        raise UsageError("a TorchScript model cannot be changed; call swap before torch.jit.script")
    if any(hasattr(module, "_orig_mod") for module in model.modules()):
        raise UsageError("the model is compiled; call swap before torch.compile")
    if isinstance(model, nn.parallel.DistributedDataParallel):
        raise UsageError("the model is already distributed; call swap before DistributedDataParallel")
