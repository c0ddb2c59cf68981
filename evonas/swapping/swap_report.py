"""The report of a swap: what became of each normalisation of a model, and why."""

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
class NormOutcome:
    """What became of one normalisation of the model.

    Attributes:
        name: the name of the module in the model.
        norm: the name of its class.
        action: what became of it.
        activation: the activation that was removed with it, such as "ReLU" or "relu_"; empty for none.
        reason: why it was kept, or how the pair was found.
        notes: other changes that may matter.
        certain: whether the pair was found by the data flow; otherwise it was guessed from the order of modules.
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
    """What `swap` did to a model.

    Attributes:
        model: the model, which was changed in place.
        layer: the layer that was placed in it, as an expression.
        norms: one entry per normalisation, in the order of `model.named_modules()`.
        rewritten: names of modules whose forward was rewritten, because it applied a function or a shared module that
            the layer replaces. Their new class is a subclass of the old one. Where the source allowed it, calls were
            taken out of it; elsewhere the forward is written anew from its graph, and values that the old one read
            from plain attributes are now constants.
    """

    model: nn.Module
    layer: str
    norms: Sequence[NormOutcome]
    rewritten: Sequence[str] = ()

    @property
    def replaced(self) -> list[NormOutcome]:
        """The normalisations that were replaced by the layer."""
        return [one for one in self.norms if one.action is Action.REPLACED]

    @property
    def kept(self) -> list[NormOutcome]:
        """The normalisations that were kept."""
        return [one for one in self.norms if one.action is Action.KEPT]

    def as_dict(self) -> dict[str, Any]:
        """Return the report, without the model, as values that JSON can represent."""
        rows = [{**asdict(one), "action": one.action.value, "notes": list(one.notes)} for one in self.norms]
        return {"layer": self.layer, "norms": rows, "rewritten": list(self.rewritten)}

    def __str__(self) -> str:
        lines = [f"{self.layer}: {self._counts()}"]
        lines += [f"  {line}" for one in self.norms for line in str(one).splitlines()]
        return "\n".join([*lines, *(f"  {line}" for line in self._further())])

    def _repr_html_(self) -> str:
        """What became of each normalisation, as a table that a notebook shows."""
        from evonas.notebook import block, code, paragraph, table

        rows = [
            (
                code(one.name),
                one.norm,
                one.activation,
                one.action.value,
                "; ".join(filter(None, (one.reason, *one.notes))),
            )
            for one in self.norms
        ]
        shown = [table(("module", "normalisation", "activation", "outcome", "why"), rows)] if rows else []
        return block(paragraph(code(self.layer), f": {self._counts()}"), *shown, *map(paragraph, self._further()))

    def _counts(self) -> str:
        """How many normalisations there are, and what became of them."""
        if not self.norms:
            return "no normalisation"
        counts = Counter(one.action for one in self.norms)
        ends = ", ".join(f"{counts[action]} {action.value}" for action in Action if counts[action])
        return f"{len(self.norms)} normalisations, {ends}"

    def _further(self) -> list[str]:
        """What else was changed, and what to check."""
        lines = []
        if self.rewritten:
            lines.append(f"forward rewritten: {', '.join(name or 'the model' for name in self.rewritten)}")
        unsure = sum(not one.certain for one in self.norms)
        if unsure:
            lines.append(f"{unsure} guessed from the order of modules: check each of them")
        return lines
