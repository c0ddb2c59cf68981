"""Which normalisations of a model form a pair with an activation, and why the others do not."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import torch
from torch import fx, nn

from evonas.swapping.data_flow import Flow, is_plain_sequential
from evonas.swapping.forward_code import ForwardCode
from evonas.swapping.op_kinds import (
    GATES,
    NORMS,
    OTHER_NORMS,
    activation_inside,
    activation_of,
    gate_of,
    in_words,
    own_forward,
    unknown_function,
)


@dataclass(eq=False)
class Found:
    """What was found about a normalisation.

    Attributes:
        activation: name of the activation that it is a pair with; empty for none.
        reason: why it is no pair; for a guess, why it had to be one.
        linear: whether no activation follows, and nothing else forbids to replace it.
        calls: the calls of the activation that go with it.
        module: the activation's module where the pair was guessed.
        certain: whether the pair was found by following values.
    """

    activation: str = ""
    reason: str = ""
    linear: bool = False
    calls: tuple[fx.Node, ...] = ()
    module: nn.Module | None = None
    certain: bool = field(default=True)

    @property
    def replaced(self) -> bool:
        """Whether it is a pair."""
        return bool(self.activation)


class SwapPlan:
    """The normalisations of a model and what surrounds them.

    Args:
        model: is not changed.
        activations: classes of modules that count as activations.
        extra: those of them that the user named.
        by_order: whether to guess by the order of modules where a forward cannot be traced.
    """

    def __init__(
        self, model: nn.Module, activations: tuple[type, ...], extra: tuple[type, ...], by_order: bool
    ) -> None:
        self.model, self._activations, self._extra, self._by_order = model, activations, extra, by_order
        leaves = (*NORMS, *OTHER_NORMS, *GATES, *activations)

        def opaque(module: nn.Module) -> bool:
            of_torch = type(module).__module__.startswith("torch.nn.") and not isinstance(
                module, nn.Sequential | nn.ModuleList | nn.ModuleDict
            )
            return module is not model and (isinstance(module, leaves) or of_torch)

        self.flow = Flow(model, opaque)
        self.norms: dict[nn.Module, str] = {
            module: name for name, module in model.named_modules() if isinstance(module, NORMS)
        }
        self.codes: dict[nn.Module, ForwardCode] = {}

    def find(self, chosen: Collection[nn.Module]) -> dict[nn.Module, Found]:
        """What was found about each normalisation that is `chosen`; only those may be replaced."""
        found = {norm: self._look_at(norm) for norm in self.norms if norm in chosen}
        self._settle(found)
        return found

    def removable(self, found: Collection[Found]) -> set[fx.Node]:
        """The calls of activations that go with pairs."""
        return {call for one in found for call in one.calls}

    def whole(self, module: nn.Module | None, removed: Collection[fx.Node]) -> bool:
        """Whether every call of a module is removed, so that the module itself can go."""
        return module is not None and self.flow.hidden(module) is None and set(self.flow.calls[module]) <= set(removed)

    def _look_at(self, norm: nn.Module) -> Found:
        unfit = _unfit(norm)
        if unfit is not None:
            return Found(reason=unfit)
        inside = None
        if own_forward(norm):
            inside = activation_inside(norm, self._activations)
            if inside is None:
                return Found(reason=f"{type(norm).__name__} has a forward of its own")
            if isinstance(inside, self._activations):
                return Found(activation=type(inside).__name__)
        hidden, calls = self.flow.hidden(norm), self.flow.calls[norm]
        if hidden is not None:
            return self._guess(norm, hidden)
        if not calls:
            return Found(reason="no forward calls it")
        return self._judge([use for call in calls for use in self.flow.uses(call)])

    def _judge(self, uses: list[fx.Node | str]) -> Found:
        """What the uses of a normalisation's output say."""
        if not uses:
            return Found(reason="its output is not used")
        activations: list[tuple[str, fx.Node]] = []
        others: list[str] = []
        odd: list[str] = []
        for use in uses:
            if isinstance(use, str):
                others.append(use)
                continue
            called = self.flow.module(use)
            name, words = activation_of(use, called, self._extra), in_words(use, called)
            if name is not None and use.all_input_nodes:
                activations.append((name, use))
                continue
            others.append(words)
            maker = self.flow.owner(use) if called is None else called
            if unknown_function(maker):
                who = type(maker).__name__
                odd.insert(0, f"{who} follows, which may be an activation: name it in `activations`")
            elif gate_of(use, called) is not None:
                odd.append(f"{words} follows, which is a gate rather than an activation")
        listed = ", ".join(dict.fromkeys(others))
        if activations and others:
            also = f"its output is used by more than the activation: also by {listed}"
            return Found(reason=also)
        names = {name for name, _ in activations}
        if len(names) > 1:
            return Found(reason=f"different activations follow: {', '.join(sorted(names))}")
        if activations:
            return Found(activation=names.pop(), calls=tuple(dict.fromkeys(use for _, use in activations)))
        if odd:
            return Found(reason=odd[0])
        sees = [use for use in uses if isinstance(use, str) and "traced" in use]
        if sees:
            return Found(reason=f"its output goes to {sees[0]}")
        return Found(reason=f"no activation follows: its output goes to {listed}", linear=True)

    def _settle(self, found: dict[nn.Module, Found]) -> None:
        """Drops pairs whose activation cannot be taken away, until every one that is left can be."""
        while True:
            dropped = list(self._dropped(found))
            if not dropped:
                return
            for norm, reason in dropped:
                found[norm] = Found(reason=reason)

    def _dropped(self, found: dict[nn.Module, Found]) -> Iterator[tuple[nn.Module, str]]:
        pairs = {norm: what for norm, what in found.items() if what.replaced}
        removed = self.removable(pairs.values())
        for norm, what in pairs.items():
            for call in what.calls:
                reason = self._in_the_way(call, pairs, removed)
                if reason is not None:
                    yield norm, reason
                    break

    def _in_the_way(self, call: fx.Node, pairs: Collection[nn.Module], removed: set[fx.Node]) -> str | None:
        """Why a call of an activation has to stay."""
        owner = self.flow.owner(call)
        where = self.flow.names[owner] or "the model"
        for source in self.flow.sources(call.all_input_nodes[0]):
            if self.flow.module(source) not in pairs:
                what = in_words(source, self.flow.module(source))
                return f"its activation, in {where}, is also applied to what is not replaced ({what})"
        if is_plain_sequential(owner) or self.whole(self.flow.module(call), removed):
            return None
        code = self.codes.setdefault(owner, ForwardCode.of(owner))
        fixed = code.fixed
        if fixed is None and isinstance(owner, fx.GraphModule):
            fixed = "it is a graph of torch.fx already"
        if fixed is None and any("_tensor_constant" in str(n.target) for g in self.flow.graphs[owner] for n in g.nodes):
            fixed = "it makes constants"
        return None if fixed is None else f"the forward of {where} would have to be written anew, and {fixed}"

    def _guess(self, norm: nn.Module, hidden: str) -> Found:
        """A pair by the order of modules, in a forward that cannot be traced but names both once."""
        reason = f"the forward of {hidden}"
        places = [(p, n) for p in self.model.modules() for n, child in p._modules.items() if child is norm]
        if not self._by_order or len(places) != 1:
            return Found(reason=reason)
        parent, name = places[0]
        if parent not in self.flow.untraced or self.flow.calls[norm]:
            return Found(reason=reason)
        following = list(parent._modules.items())
        place = next(i for i, (n, _) in enumerate(following) if n == name) + 1
        if place == len(following) or not isinstance(following[place][1], self._activations):
            return Found(reason=f"{reason}, and no activation is registered after it")
        after, activation = following[place]
        assert activation is not None
        uses = sum(child is activation for p in self.model.modules() for child in p._modules.values())
        read = ForwardCode.of(parent).attributes
        if uses > 1 or self.flow.calls[activation] or read.get(name, 0) != 1 or read.get(after, 0) != 1:
            return Found(reason=f"{reason}, and {name} and {after} may be called several times")
        return Found(type(activation).__name__, reason, module=activation, certain=False)


def _unfit(norm: nn.Module) -> str | None:
    """Why a normalisation is never replaced."""
    if hasattr(norm, "parametrizations"):
        return "it is parametrised"
    if isinstance(norm, torch.jit.ScriptModule):
        return "it is a TorchScript module"
    return None
