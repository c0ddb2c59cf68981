"""Which normalisations of a model form a pair with an activation, and why the others do not."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import torch
from torch import fx, nn

from evonas.layers.norm_act import NormAct
from evonas.swapping.data_flow import DataFlow
from evonas.swapping.forward_code import ForwardCode
from evonas.swapping.forward_source import can_remove
from evonas.swapping.op_kinds import (
    GATES,
    NORMS,
    OTHER_NORMS,
    activation_inside,
    activation_of,
    describe,
    gate_of,
    has_own_forward,
    may_be_activation,
)
from evonas.swapping.own_activations import known_activations
from evonas.swapping.tracing import is_plain_sequential, is_whole


@dataclass(eq=False)
class Finding:
    """What was found out about a normalisation.

    Attributes:
        activation: the name of the activation that it forms a pair with; empty for none.
        reason: why it does not form a pair; for a guess, why it had to be guessed.
        linear: whether no activation follows, so that the normalisation may still be replaced by itself.
        calls: the calls of the activation that are removed with it.
        module: the module of the activation, if the pair was guessed.
        certain: whether the pair was found by following values.
    """

    activation: str = ""
    reason: str = ""
    linear: bool = False
    calls: tuple[fx.Node, ...] = ()
    module: nn.Module | None = None
    certain: bool = field(default=True)

    @property
    def is_pair(self) -> bool:
        """Whether the normalisation forms a pair with an activation."""
        return bool(self.activation)


class SwapPlan:
    """The plan of a swap: the normalisations of a model, and which of them form pairs with activations.

    Args:
        model: the model, which is not changed.
        activations: classes of modules that count as activations.
        extra: those of these classes that the user named.
        by_order: whether to guess pairs from the order of modules if a forward cannot be traced.
    """

    def __init__(
        self, model: nn.Module, activations: tuple[type, ...], extra: tuple[type, ...], by_order: bool
    ) -> None:
        self.model, self._activations, self._extra, self._by_order = model, activations, extra, by_order
        self._known = known_activations(model)
        leaves = (*NORMS, *OTHER_NORMS, *GATES, *activations, NormAct)

        def is_leaf(module: nn.Module) -> bool:
            of_torch = type(module).__module__.startswith("torch.nn.") and not isinstance(
                module, nn.Sequential | nn.ModuleList | nn.ModuleDict
            )
            return module is not model and (isinstance(module, leaves) or of_torch or module in self._known)

        self.flow = DataFlow(model, is_leaf)
        self.norms: dict[nn.Module, str] = {
            module: name for name, module in model.named_modules() if isinstance(module, NORMS)
        }
        self.codes: dict[nn.Module, ForwardCode] = {}

    def find(self, chosen: Collection[nn.Module]) -> dict[nn.Module, Finding]:
        """Return the findings about the `chosen` normalisations. The others are kept."""
        found = {norm: self._examine(norm) for norm in self.norms if norm in chosen}
        self._drop_impossible(found)
        return found

    def activation_after(self, module: nn.Module) -> str:
        """Return the name of the activation that always follows a module; empty if there is none, or none is known."""
        calls = [] if self.flow.hidden(module) else self.flow.calls[module]
        return self._judge([use for call in calls for use in self.flow.uses(call)]).activation

    def removable(self, found: Collection[Finding]) -> set[fx.Node]:
        """Return the calls of activations that are removed with the pairs."""
        return {call for one in found for call in one.calls}

    def removes_every_call(self, module: nn.Module | None, removed: Collection[fx.Node]) -> bool:
        """Return whether every call of a module is removed, so that the module itself can be removed."""
        return module is not None and self.flow.hidden(module) is None and set(self.flow.calls[module]) <= set(removed)

    def calls_to_cut(self, owner: nn.Module, removed: Collection[fx.Node]) -> list[fx.Node]:
        """Return the calls in a forward that are removed while the modules that they call remain, if any."""
        calls = [call for call in removed if self.flow.owner(call) is owner]
        return [call for call in calls if not self.removes_every_call(self.flow.module(call), removed)]

    def in_source(self, owner: nn.Module, removed: Collection[fx.Node]) -> bool:
        """Return whether these calls can be removed from the source of the forward."""
        return can_remove(owner, self.calls_to_cut(owner, removed), self.flow.graphs[owner])

    def _examine(self, norm: nn.Module) -> Finding:
        unfit = _unfit(norm)
        if unfit is not None:
            return Finding(reason=unfit)
        inside = None
        if has_own_forward(norm):
            inside = activation_inside(norm, self._is_activation)
            if inside is None:
                return Finding(reason=f"{type(norm).__name__} has a forward of its own")
            if self._is_activation(inside):
                return Finding(activation=type(inside).__name__)
        hidden, calls = self.flow.hidden(norm), self.flow.calls[norm]
        if hidden is not None:
            return self._guess(norm, hidden)
        if not calls:
            return Finding(reason="no forward calls it")
        return self._judge([use for call in calls for use in self.flow.uses(call)])

    def _judge(self, uses: list[fx.Node | str]) -> Finding:
        """Decide from the uses of a normalisation's output whether it forms a pair."""
        if not uses:
            return Finding(reason="its output is not used")
        activations: list[tuple[str, fx.Node]] = []
        others: list[str] = []
        odd: list[str] = []
        for use in uses:
            if isinstance(use, str):
                others.append(use)
                continue
            called = self.flow.module(use)
            words = describe(use, called)
            known = None if called is None else self._known.get(called)
            name = known or activation_of(use, called, self._extra)
            if name is not None and use.all_input_nodes:
                activations.append((name, use))
                continue
            others.append(words)
            maker = self.flow.owner(use) if called is None else called
            if may_be_activation(maker):
                who = type(maker).__name__
                odd.insert(0, f"{who} follows, which may be an activation: if so, pass its class in `activations`")
            elif gate_of(use, called) is not None:
                odd.append(f"{words} follows, which is a gate rather than an activation")
        listed = ", ".join(dict.fromkeys(others))
        if activations and others:
            also = f"its output is used by more than the activation: also by {listed}"
            return Finding(reason=also)
        names = {name for name, _ in activations}
        if len(names) > 1:
            return Finding(reason=f"different activations follow: {', '.join(sorted(names))}")
        if activations:
            return Finding(activation=names.pop(), calls=tuple(dict.fromkeys(use for _, use in activations)))
        if odd:
            return Finding(reason=odd[0])
        sees = [use for use in uses if isinstance(use, str) and "traced" in use]
        if sees:
            return Finding(reason=f"its output goes to {sees[0]}")
        return Finding(reason=f"no activation follows: its output goes to {listed}", linear=True)

    def _drop_impossible(self, found: dict[nn.Module, Finding]) -> None:
        """Drop pairs whose activation cannot be removed, until every remaining one can be."""
        while True:
            dropped = list(self._impossible(found))
            if not dropped:
                return
            for norm, reason in dropped:
                found[norm] = Finding(reason=reason)

    def _impossible(self, found: dict[nn.Module, Finding]) -> Iterator[tuple[nn.Module, str]]:
        pairs = {norm: finding for norm, finding in found.items() if finding.is_pair}
        removed = self.removable(pairs.values())
        for norm, finding in pairs.items():
            for call in finding.calls:
                reason = self._obstacle(call, pairs, removed)
                if reason is not None:
                    yield norm, reason
                    break

    def _obstacle(self, call: fx.Node, pairs: Collection[nn.Module], removed: set[fx.Node]) -> str | None:
        """Return why a call of an activation cannot be removed; None if it can."""
        owner = self.flow.owner(call)
        where = self.flow.names[owner] or "the model"
        for source in self.flow.sources(call.all_input_nodes[0]):
            if self.flow.module(source) not in pairs:
                value = describe(source, self.flow.module(source))
                return f"its activation, in {where}, is also applied to a value that is not replaced ({value})"
        if is_plain_sequential(owner) or self.removes_every_call(self.flow.module(call), removed):
            return None
        if isinstance(owner, fx.GraphModule) or self.in_source(owner, removed):
            return None
        code = self.codes.setdefault(owner, ForwardCode.of(owner))
        unrewritable = code.unrewritable
        nodes = [node for graph in self.flow.graphs[owner] for node in graph.nodes]
        if unrewritable is None and any("_tensor_constant" in str(node.target) for node in nodes):
            unrewritable = "it creates constant tensors"
        if unrewritable is None and not all(is_whole(graph) for graph in self.flow.graphs[owner]):
            unrewritable = "it passes objects that a graph cannot hold"
        if unrewritable is None:
            return None
        return f"the forward of {where} would have to be rewritten, but {unrewritable}"

    def _is_activation(self, module: nn.Module | None) -> bool:
        """Return whether a module is an activation, by its class or by what it computes."""
        return isinstance(module, self._activations) or module in self._known

    def _guess(self, norm: nn.Module, hidden: str) -> Finding:
        """Guess a pair from the order of modules, if a forward that cannot be traced mentions each of the two once."""
        reason = f"the forward of {hidden}"
        places = [(p, n) for p in self.model.modules() for n, child in p._modules.items() if child is norm]
        if not self._by_order or len(places) != 1:
            return Finding(reason=reason)
        parent, name = places[0]
        if parent not in self.flow.untraced or self.flow.calls[norm]:
            return Finding(reason=reason)
        following = list(parent._modules.items())
        place = next(i for i, (n, _) in enumerate(following) if n == name) + 1
        if place == len(following) or not self._is_activation(following[place][1]):
            return Finding(reason=f"{reason}, and no activation is registered after it")
        after, activation = following[place]
        assert activation is not None
        uses = sum(child is activation for p in self.model.modules() for child in p._modules.values())
        read = ForwardCode.of(parent).attributes
        if uses > 1 or self.flow.calls[activation] or read.get(name, 0) != 1 or read.get(after, 0) != 1:
            return Finding(reason=f"{reason}, and {name} and {after} may be called several times")
        return Finding(type(activation).__name__, reason, module=activation, certain=False)


def _unfit(norm: nn.Module) -> str | None:
    """Return why a normalisation can never be replaced; None if it can."""
    if hasattr(norm, "parametrizations"):
        return "it is parametrised"
    if isinstance(norm, torch.jit.ScriptModule):
        return "it is a TorchScript module"
    return None
