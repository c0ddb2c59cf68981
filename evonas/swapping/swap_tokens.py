"""What `swap` does with the norms of transformers: finding them, and refusing what a causal model cannot have."""

from __future__ import annotations

import re
import warnings

from torch import nn

from evonas.errors import UsageError, shorten
from evonas.language.graph import Graph
from evonas.swapping.swap_plan import SwapPlan
from evonas.swapping.swap_report import Action, NormOutcome
from evonas.swapping.token_norms import TokenNorm, token_norm

_CAUSAL_NAMES = re.compile(r"CausalLM|LMHead|Decoder|Mamba|GPT")
"""Names of classes whose tokens see earlier ones alone, where no attribute says so."""


def find_token_norms(model: nn.Module, plan: SwapPlan) -> dict[nn.Module, tuple[str, TokenNorm]]:
    """The modules of a model that compute a norm of tokens, each with its name and what it computes."""
    found = {}
    for name, module in model.named_modules():
        if module not in plan.norms and (norm := token_norm(module)) is not None:
            found[module] = (name, norm)
    return found


def check_causal(model: nn.Module, graph: Graph, causal: bool | None) -> None:
    """Checks that a layer for tokens shows no token what comes later, and warns where the model may not mind.

    Raises:
        UsageError: the layer mixes positions, and the model is causal.
    """
    if not graph.mixes_positions:
        return
    what = f"{shorten(graph.written())} takes statistics over positions"
    if causal is None:
        causal = _seems_causal(model)
    if causal:
        raise UsageError(
            f"{what}, through which a token of this causal model would see later ones; choose a layer whose statistics "
            "are over c or cg, or say causal=False if no token is hidden from another"
        )
    warnings.warn(f"{what}: tokens depend on one another through it, and so do padded ones", stacklevel=3)


def leave_fast_path(model: nn.Module) -> None:
    """Has PyTorch's own encoder layers call layers that stand where their norms stood.

    In evaluation they would otherwise hand the weights of the norms to an operator that computes a whole block.
    """
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            norms = (module.norm1, module.norm2)
            if not all(isinstance(norm, nn.LayerNorm) for norm in norms):
                module.activation_relu_or_gelu = 0


def outcome_of_tokens(name: str, module: nn.Module, norm: TokenNorm) -> NormOutcome:
    """What became of a norm of tokens that was replaced."""
    notes = ("it has a bias now, which starts at 0",) if norm.weight is not None and norm.bias is None else ()
    reason = f"{norm.kind} of {norm.channels} channels, eps {norm.eps:.3g}"
    return NormOutcome(name, type(module).__name__, Action.REPLACED, reason=reason, notes=notes)


def _seems_causal(model: nn.Module) -> bool:
    if any(getattr(module, "is_causal", False) is True for module in model.modules()):
        return True
    return any(_CAUSAL_NAMES.search(type(module).__name__) for module in model.modules())
