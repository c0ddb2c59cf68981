"""The changes of a swap to a model: replacing normalisations by layers, and removing activations."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import fx, nn

from evonas.language.graph import Graph
from evonas.layers.layer_factory import LayerFactory
from evonas.layers.norm_act import NormAct
from evonas.layers.synchronised import WORLD
from evonas.swapping.forward_edit import rewrite_forward
from evonas.swapping.forward_source import remove_calls
from evonas.swapping.swap_plan import Finding, SwapPlan
from evonas.swapping.token_norms import TokenNorm
from evonas.swapping.tracing import is_plain_sequential

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def replacement_layer(
    norm: nn.Module,
    graph: Graph,
    groups: int | None,
    eps: float | None,
    momentum: float | None,
    backend: str,
    *,
    keep_affine: bool,
) -> NormAct:
    """Make the layer that replaces a normalisation, with its channels, mode, device, data type and hooks.

    Args:
        norm: the normalisation.
        graph: the graph of the layer.
        groups, eps, momentum: settings of the layer; None for those of the normalisation.
        backend: the back end of the layer.
        keep_affine: whether the layer takes over the weight and bias of the normalisation.
    """
    channels = getattr(norm, "num_features", None) or norm.num_channels
    tensors = [t for t in (*norm.parameters(), *norm.buffers()) if t.is_floating_point()]
    like = tensors[0] if tensors else torch.empty(0)
    layer = NormAct(
        graph,
        channels,  # type: ignore[arg-type]  # attributes of a module have no type
        groups or int(getattr(norm, "num_groups", 32)),
        eps or norm.eps,  # type: ignore[arg-type]  # an attribute as well
        getattr(norm, "momentum", 0.1) if momentum is None else momentum,
        affine=bool(norm.affine) or not graph.nodes,
        backend=backend,
        device=like.device,
        dtype=like.dtype,
        process_group=(norm.process_group or WORLD) if isinstance(norm, nn.SyncBatchNorm) else None,
    )
    if keep_affine:
        with torch.no_grad():
            for name in ("weight", "bias"):
                old, new = getattr(norm, name, None), getattr(layer, name)
                if old is not None and new is not None:
                    new.copy_(old)
    layer.train(norm.training)
    _move_hooks(norm, layer)
    return layer


def replacement_of_tokens(
    module: nn.Module, norm: TokenNorm, placed: LayerFactory, groups: int | None, eps: float | None, backend: str
) -> NormAct:
    """Make the layer that replaces a norm of tokens, with its weight, bias, mode, device, data type and hooks.

    Args:
        module: the module that computes the norm.
        norm: what it computes.
        placed: the layer, with what its parameters start at.
        groups, eps: settings of the layer; None for 32, and for the eps of the norm.
        backend: the back end of the layer.
    """
    like = next(module.parameters(), torch.empty(0))
    layer = NormAct(
        placed.graph,
        norm.channels,
        groups or 32,
        eps or norm.eps,
        affine=norm.weight is not None or norm.bias is not None,
        backend=backend,
        device=like.device,
        dtype=like.dtype if like.is_floating_point() else None,
        dim=norm.dim,
        start=placed.start,
    )
    with torch.no_grad():
        for name in ("weight", "bias"):
            old, new = getattr(norm, name), getattr(layer, name)
            if old is not None and new is not None:
                new.copy_(old)
    layer.train(module.training)
    _move_hooks(module, layer)
    return layer


def apply(
    model: nn.Module, plan: SwapPlan, layers: Mapping[nn.Module, nn.Module], pairs: Collection[Finding]
) -> tuple[str, ...]:
    """Replace normalisations by layers, and remove the activations of pairs.

    Args:
        model: the model, which is changed in place.
        plan: the plan that was made for the model.
        layers: the layer for each normalisation to replace.
        pairs: the pairs whose activations are removed.

    Returns:
        The names of the modules whose forward was rewritten.
    """
    flow, removed = plan.flow, plan.removable(pairs)
    replacements = dict(layers)
    rewritten = []
    for owner in dict.fromkeys(flow.owner(call) for call in removed):
        cut = plan.calls_to_cut(owner, removed)
        if is_plain_sequential(owner):
            for call in cut:
                owner._modules[str(call.target)] = nn.Identity()
        elif cut and plan.in_source(owner, removed):
            remove_calls(owner, cut)
            rewritten.append(owner)
        elif cut:
            for call in cut:
                call.replace_all_uses_with(call.all_input_nodes[0])
                call.graph.erase_node(call)
            if isinstance(owner, fx.GraphModule):
                owner.recompile()
            else:
                rewrite_forward(owner, flow.graphs[owner])
            rewritten.append(owner)
    for called in {flow.module(call) for call in removed}:
        if called is not None and plan.removes_every_call(called, removed):
            replacements.setdefault(called, _identity(called))
    for one in pairs:
        if one.module is not None:
            replacements[one.module] = _identity(one.module)
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child in replacements:
                parent._modules[name] = replacements[child]
    return tuple(flow.names[owner] for owner in rewritten)


def _identity(activation: nn.Module) -> nn.Module:
    identity = nn.Identity().train(activation.training)
    _move_hooks(activation, identity)
    return identity


def _move_hooks(old: nn.Module, new: nn.Module) -> None:
    """Give a module the hooks of another: the same dictionaries, because the handles of hooks point to them."""
    for name in _HOOKS:
        if name in vars(old):
            vars(new)[name] = vars(old)[name]
    if hasattr(old, "_is_full_backward_hook"):
        new._is_full_backward_hook = old._is_full_backward_hook
