"""What a swap did to each normalisation of a model, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from torch import nn


class Action(Enum):
    """What became of a normalisation."""

    REPLACED = "replaced"
    AFFINE = "affine"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Swapped:
    """One normalisation of the model.

    Attributes:
        name: of the module in the model.
        norm: its class.
        action: what became of it.
        activation: what went with it, such as "ReLU" or "relu_"; empty for none.
        reason: why it was kept, or how the pair was found.
        notes: what else changed for somebody who looks closely.
        certain: whether the flow of values was followed; otherwise the order of modules was trusted.
    """

    name: str
    norm: str
    action: Action
    activation: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()
    certain: bool = True

    def __str__(self) -> str:
        pair = f"{self.norm} + {self.activation}" if self.activation else self.norm
        text = f"{self.action.value:8}  {self.name}  {pair}"
        text += f": {self.reason}" if self.reason else ""
        return "\n".join([text, *(f"{'':10}{note}" for note in self.notes)])


@dataclass(frozen=True)
class SwapReport:
    """What `swap` did.

    Attributes:
        model: the model, which was changed in place.
        layer: what went into it, as an expression.
        norms: one row for each normalisation, in the order of `model.named_modules()`.
        rewritten: modules whose forward was written anew, because it applied a function or a shared module that the
            layer now takes the place of. Their class is derived from the old one; what their forward read from plain
            attributes is fixed.
    """

    model: nn.Module
    layer: str
    norms: Sequence[Swapped]
    rewritten: Sequence[str] = ()

    @property
    def replaced(self) -> list[Swapped]:
        """The normalisations in whose place the layer is now."""
        return [one for one in self.norms if one.action is Action.REPLACED]

    @property
    def kept(self) -> list[Swapped]:
        """The normalisations that are still there."""
        return [one for one in self.norms if one.action is Action.KEPT]

    def as_dict(self) -> dict[str, Any]:
        """Everything but the model, as JSON can hold it."""
        rows = [{**asdict(one), "action": one.action.value, "notes": list(one.notes)} for one in self.norms]
        return {"layer": self.layer, "norms": rows, "rewritten": list(self.rewritten)}

    def __str__(self) -> str:
        counts = Counter(one.action.value for one in self.norms)
        head = f"{self.layer}: {len(self.norms)} normalisations, " if self.norms else f"{self.layer}: no normalisation"
        lines = [
            head + ", ".join(f"{counts[action.value]} {action.value}" for action in Action if counts[action.value])
        ]
        lines += [f"  {line}" for one in self.norms for line in str(one).splitlines()]
        if self.rewritten:
            lines.append(f"  forward written anew: {', '.join(name or 'the model' for name in self.rewritten)}")
        unsure = sum(not one.certain for one in self.norms)
        if unsure:
            lines.append(f"  {unsure} found by the order of modules, which is a guess: look at each")
        return "\n".join(lines)
