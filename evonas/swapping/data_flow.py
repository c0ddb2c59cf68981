"""Data flow in a PyTorch model: the forward of each module as a graph, and the paths of values between them.

Every module is traced separately with `torch.fx`, with its children as leaves. So a forward that cannot be traced hides
only itself, and an edit changes one forward rather than a whole network.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from torch import fx, nn
from torch.nn import functional as F
from torch.nn.modules.dropout import _DropoutNd

from evonas.swapping.tracing import UntraceableError, traces

_DEPTH = 50
"""Module boundaries that a path may cross; the path into a module that calls itself would never end."""


IsLeaf = Callable[[nn.Module], bool]
"""A function that returns whether a module is a leaf, which is not traced."""

_DROPOUTS = F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout


class DataFlow:
    """The paths of values through a model.

    A node is one call in one forward; `module` returns the module that it calls. A module whose forward differs between
    training and evaluation, or by optional arguments, has a graph for each case.

    Args:
        model: the model. It is not changed, and neither are its mode and the random state.
        is_leaf: returns whether a module is a leaf, which is not traced.

    Attributes:
        graphs: the graphs of each traced module.
        untraced: the reason for each module that could not be traced.
        names: the name of each module in the model.
        calls: the nodes that call each module.
    """

    def __init__(self, model: nn.Module, is_leaf: IsLeaf) -> None:
        self.model = model
        self.graphs: dict[nn.Module, list[fx.Graph]] = {}
        self.untraced: dict[nn.Module, str] = {}
        self.names = {module: name for name, module in model.named_modules()}
        self.calls: dict[nn.Module, list[fx.Node]] = defaultdict(list)
        self._owner: dict[fx.Graph, nn.Module] = {}
        self._module: dict[fx.Node, nn.Module] = {}
        self._holders: dict[nn.Module, list[nn.Module]] = defaultdict(list)
        self._add_module(model, None, is_leaf, set())

    def _add_module(self, module: nn.Module, holder: nn.Module | None, is_leaf: IsLeaf, seen: set[nn.Module]) -> None:
        if holder is not None:
            self._holders[module].append(holder)
        if module in seen or is_leaf(module):
            return
        seen.add(module)
        if not _is_plain_container(module):
            holder = module
            try:
                self._add_graphs(module, traces(module))
            except UntraceableError as reason:
                self.untraced[module] = str(reason)
        for child in module.children():
            self._add_module(child, holder, is_leaf, seen)

    def _add_graphs(self, module: nn.Module, graphs: list[fx.Graph]) -> None:
        self.graphs[module] = graphs
        for graph in graphs:
            self._owner[graph] = module
            for node in graph.nodes:
                if node.op == "call_module":
                    assert isinstance(node.target, str)
                    called = module.get_submodule(node.target)
                    self._module[node] = called
                    self.calls[called].append(node)

    def owner(self, node: fx.Node) -> nn.Module:
        """Return the module whose forward contains the node."""
        return self._owner[node.graph]

    def module(self, node: fx.Node) -> nn.Module | None:
        """Return the module that the node calls; None if it does not call a module."""
        return self._module.get(node)

    def hidden(self, module: nn.Module) -> str | None:
        """Return why calls of a module may be hidden: a module that contains it was not traced. None if none are."""
        for holder in self._holders[module]:
            if holder in self.untraced:
                return f"{self.names[holder] or 'the model'} ({type(holder).__name__}): {self.untraced[holder]}"
        return None

    def uses(self, node: fx.Node, depth: int = 0) -> Iterator[fx.Node | str]:
        """Yield the uses of a node's value: nodes that have it as an argument, or descriptions of other uses."""
        if depth > _DEPTH:
            yield "a module that calls itself"
            return
        for user in node.users:
            called = self.module(user)
            if user.op == "output":
                yield from self._beyond(node, user, depth)
            elif _passes(user, called):
                yield from self.uses(user, depth + 1)
            elif called in self.graphs and user.args[:1] == (node,) and _count_argument(user, node) == 1:
                assert called is not None
                if called._forward_pre_hooks:
                    yield f"the hooks of {self.names[called]}"
                    continue
                for graph in self.graphs[called]:
                    entry = next((n for n in graph.nodes if n.op == "placeholder"), None)
                    if entry is None:
                        yield user
                    else:
                        yield from self.uses(entry, depth + 1)
            else:
                yield user

    def _beyond(self, node: fx.Node, output: fx.Node, depth: int) -> Iterator[fx.Node | str]:
        """Yield the uses of the value that a forward returns."""
        owner = self.owner(node)
        where = self.names[owner] or "the model"
        if output.args[0] is not node:
            yield f"what {where} returns together with other values"
        elif owner._forward_hooks:
            yield f"the hooks of {where}"
        elif self.hidden(owner) is not None:
            yield f"a forward that cannot be traced, that of {self.hidden(owner)}"
        elif owner is self.model:
            yield "the model's output"
        elif not self.calls[owner]:
            yield f"{where}, which no traced forward calls"
        for caller in self.calls[owner] if output.args[0] is node else ():
            yield from self.uses(caller, depth + 1)

    def sources(self, node: fx.Node, depth: int = 0) -> Iterator[fx.Node]:
        """Yield the nodes that a value comes from, across module boundaries and identities."""
        called = self.module(node)
        if depth > _DEPTH:
            yield node
        elif node.op == "placeholder":
            arguments = self._arguments(node)
            if not arguments or self.hidden(self.owner(node)) is not None or self.owner(node) is self.model:
                yield node
            for argument in arguments:
                yield from self.sources(argument, depth + 1)
        elif _passes(node, called) and node.all_input_nodes:
            yield from self.sources(node.all_input_nodes[0], depth + 1)
        elif called in self.graphs:
            assert called is not None
            for graph in self.graphs[called]:
                value = graph.output_node().args[0]
                if isinstance(value, fx.Node):
                    yield from self.sources(value, depth + 1)
                else:
                    yield node
        else:
            yield node

    def _arguments(self, entry: fx.Node) -> list[fx.Node]:
        """Return the arguments that calls of a module pass to one of its parameters, unless they are constants."""
        parameters = [n for n in entry.graph.nodes if n.op == "placeholder"]
        place, found = parameters.index(entry), []
        for call in self.calls[self.owner(entry)]:
            given = call.args[place] if place < len(call.args) else call.kwargs.get(str(entry.target))
            if isinstance(given, fx.Node):
                found.append(given)
        return found


def _passes(node: fx.Node, called: nn.Module | None) -> bool:
    """Whether a node returns what it gets: an identity, or a dropout that drops nothing."""
    if node.op == "call_function" and node.target in _DROPOUTS:
        rate = node.kwargs.get("p", node.args[1] if len(node.args) > 1 else None)
        return isinstance(rate, int | float) and rate == 0
    same = isinstance(called, nn.Identity) or (isinstance(called, _DropoutNd) and called.p == 0)
    return same and called is not None and not (called._forward_hooks or called._forward_pre_hooks)


def _is_plain_container(module: nn.Module) -> bool:
    """Whether a module only holds others, so that the forwards around it call them."""
    return isinstance(module, nn.ModuleList | nn.ModuleDict) and type(module).forward is nn.Module.forward


def _count_argument(user: fx.Node, node: fx.Node) -> int:
    """Return how often a node is an argument of another node."""
    arguments: list[fx.Node] = []
    fx.node.map_arg((user.args, user.kwargs), arguments.append)
    return arguments.count(node)
