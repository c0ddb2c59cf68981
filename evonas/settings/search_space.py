"""Search spaces: which graphs may be drawn, how they are drawn, and how they mutate.

A space is a value to copy and edit: `dataclasses.replace(evonorm, nodes=14)`. Sampling and mutation
follow Liu et al. 2020, section 3.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

import numpy as np

from evonas.errors import UsageError, shorten, unknown
from evonas.language.axes import REMOVES, Extent
from evonas.language.graph import FIRST, INPUTS, Graph, Node
from evonas.language.leaf import LEAVES, NUMBER, constant_name, leaf_named
from evonas.language.primitive_table import PRIMITIVES, IndexSet, Moment
from evonas.settings.fast_random import Draws

ELEMENTWISE_NAMES = tuple(op.name for op in PRIMITIVES.values() if not op.is_aggregation)
MOMENT_NAMES = tuple(moment.value for moment in Moment)
INDEX_SET_NAMES = tuple(index_set.value for index_set in IndexSet)
PUBLISHED_OPERATIONS = (
    *("add", "mul", "div", "max", "neg", "sigmoid", "tanh", "exp", "square", "abs", "log", "sqrt"),
    *("mean", "rms", "std"),
)
"""The operations of Liu et al. 2020. Written out, because a space draws by position in its list: were it read from the
table of primitives, each new primitive would change every graph that a recorded seed draws."""
PUBLISHED_INDEX_SETS = ("bwh", "whc", "wh", "whcg")
_LEAF_NAMES = frozenset(leaf.name for leaf in LEAVES)
MAX_OPERATIONS = 64
"""The greatest number of operations of a space, below the limit of a `Graph`: a canonical form may be longer."""


@dataclass(frozen=True)
class SearchSpace:
    """A set of graphs with a distribution over them.

    Attributes:
        name: the name in commands and records.
        operations: names of element-wise operations, and of moments ("mean", "rms", "std"), each of which
            stands for one operation per index set; by default those of the paper.
        index_sets: the index sets of the aggregations; by default those of the paper.
        nodes: number of operations in a graph, including dead ones.
        weights: relative frequency of operations by full name ("std_wh"); 1 for operations that are not named.
        leaves: leaves beside `x`, `0`, `v0` and `v1`, which every graph has: names of parameters, and positive numbers.
            An argument is as often a number, whichever, as it is any other leaf or any earlier operation.

    Raises:
        UsageError: an operation, index set, weight or leaf is unknown or invalid, or the number of nodes is out of
            range.
    """

    name: str
    operations: tuple[str, ...] = PUBLISHED_OPERATIONS
    index_sets: tuple[str, ...] = PUBLISHED_INDEX_SETS
    nodes: int = 10
    weights: Mapping[str, float] = field(default_factory=dict)
    leaves: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("operations", "index_sets", "leaves"):
            if not isinstance(getattr(self, name), list | tuple):
                raise UsageError(f"{name} must be a tuple of names, not {shorten(getattr(self, name))}")
            # Lists are accepted too, and become tuples so that equal spaces compare equal.
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not isinstance(self.weights, Mapping):
            raise UsageError(f"weights must be a mapping from operations to numbers, not {shorten(self.weights)}")
        object.__setattr__(self, "weights", dict(self.weights))
        for operation in self.operations:
            if operation not in ELEMENTWISE_NAMES + MOMENT_NAMES:
                raise unknown("operation", operation, ELEMENTWISE_NAMES + MOMENT_NAMES)
        for index_set in self.index_sets:
            if index_set not in INDEX_SET_NAMES:
                raise unknown("index set", index_set, INDEX_SET_NAMES)
        object.__setattr__(self, "leaves", _checked_leaves(self.leaves))
        if not isinstance(self.nodes, int) or not 1 <= self.nodes <= MAX_OPERATIONS:
            raise UsageError(f"nodes must be an integer from 1 to {MAX_OPERATIONS}, not {shorten(self.nodes)}")
        for name, weight in self.weights.items():
            if name not in self.ops:
                raise unknown("operation to weight", name, self.ops)
            if not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
                raise UsageError(f"the weight of {shorten(name)} must be a finite number >= 0, not {shorten(weight)}")
        if not sum(self._probabilities) > 0:
            raise UsageError(f"the space {shorten(self.name)} has no operation with a positive weight")

    @property
    def mixes_positions(self) -> bool:
        """Whether it has statistics over positions, by which a token of a causal network would see later ones."""
        whole = any(Extent.PLANE in REMOVES[IndexSet(name)] for name in self.index_sets)
        return whole and any(operation in MOMENT_NAMES for operation in self.operations)

    @cached_property
    def ops(self) -> tuple[str, ...]:
        """The full names of the operations that may be drawn."""
        names: list[str] = []
        for operation in self.operations:
            suffixed = operation in MOMENT_NAMES
            names += [f"{operation}_{i}" for i in self.index_sets] if suffixed else [operation]
        return tuple(names)

    @cached_property
    def _probabilities(self) -> tuple[float, ...]:
        weights = [self.weights.get(name, 1.0) for name in self.ops]
        total = sum(weights)
        return tuple(w / total for w in weights) if total > 0 else ()

    @cached_property
    def _thresholds(self) -> tuple[float, ...]:
        """The points of [0, 1) at which the share of one operation ends and that of the next begins."""
        return tuple(accumulate(self._probabilities))[:-1]

    @cached_property
    def _first(self) -> int:
        """The number of the first operation of a member."""
        return FIRST + len(self.leaves)

    @cached_property
    def _leaf_nodes(self) -> tuple[Node, ...]:
        """The leaves with which the nodes of every member begin: parameters, then numbers."""
        return tuple(Node(name, ()) for name in self.leaves)

    @cached_property
    def _numbers(self) -> range:
        """The numbers of the nodes that are numbers."""
        count = sum(name not in _LEAF_NAMES for name in self.leaves)
        return range(self._first - count, self._first)

    def _argument(self, number: int, draws: Draws) -> int:
        """A random argument of node `number`: a leaf or an earlier operation, where all numbers count as one leaf."""
        numbers = self._numbers
        if len(numbers) < 2:
            return draws.below(number)
        drawn = draws.below(number - len(numbers) + 1)
        if drawn == numbers.start:
            return numbers.start + draws.below(len(numbers))
        return drawn if drawn < numbers.start else drawn + len(numbers) - 1

    @cached_property
    def _arities(self) -> tuple[tuple[str, int], ...]:
        return tuple((name, PRIMITIVES[name].arity) for name in self.ops)

    def random_graph(self, rng: np.random.Generator) -> Graph:
        """A random graph, whose operations and arguments are drawn independently; the last node is the output."""
        draws = Draws(rng)
        first = self._first
        nodes = [self._random_node(number, draws) for number in range(first, first + self.nodes)]
        return Graph.of_valid((*self._leaf_nodes, *nodes), first + self.nodes - 1)

    def mutate(self, graph: Graph, rng: np.random.Generator) -> tuple[Graph, str]:
        """`graph` with the operation and arguments of one node redrawn, and a description of the change.

        The graph must be a member of the space, as returned by `random_graph` and `embed`.
        """
        number = self._random_place(graph, rng)
        return _redrawn(graph, number, self._random_node(number, Draws(rng)))

    def mutate_part(self, graph: Graph, rng: np.random.Generator) -> tuple[Graph, str]:
        """`graph` with one part of one node redrawn, its operation or an argument, and a description of the change.

        What `mutate` changes is mostly lost: a new operation on new arguments. Here the rest of the node stays. A new
        operation of two arguments gets a second one, which is drawn; one of a single argument keeps either of two.
        Nodes, and within a node its operation and its arguments, are equally likely.

        The graph must be a member of the space, as returned by `random_graph` and `embed`.
        """
        number, draws = self._random_place(graph, rng), Draws(rng)
        old = graph.node(number)
        part = draws.below(1 + len(old.args))
        if part:
            args = tuple(self._argument(number, draws) if i + 1 == part else a for i, a in enumerate(old.args))
            new = Node(old.op, args)
        else:
            name, arity = self._arities[bisect_right(self._thresholds, draws.uniform())]
            kept = old.args if len(old.args) <= arity else (old.args[draws.below(len(old.args))],)
            new = Node(name, kept if len(kept) == arity else (*kept, self._argument(number, draws)))
        return _redrawn(graph, number, new)

    def insert(self, graph: Graph, rng: np.random.Generator) -> tuple[Graph, str] | None:
        """`graph` with a new node at one argument of a live node, and a description of the change.

        The new node's operation is drawn. Its first argument is what it takes the place of, or as often another value
        that is there before the live node; a second argument is such a value. Live nodes, and within a node its
        arguments, are equally likely. None if the result has more live nodes than the space allows.

        The graph must be a member of the space, as returned by `random_graph` and `embed`; so is the result.
        """
        live = graph.operations
        receiver = live[int(rng.integers(len(live)))]
        place = int(rng.integers(len(graph.node(receiver).args)))
        there = [*range(graph.first), *(number for number in live if number < receiver)]
        name, arity = self._arities[bisect_right(self._thresholds, rng.random())]
        replaced = graph.node(receiver).args[place]
        first = replaced if rng.integers(2) else there[int(rng.integers(len(there)))]
        inserted = Node(name, (first,) if arity == 1 else (first, there[int(rng.integers(len(there)))]))
        numbers, nodes = {number: number for number in range(graph.first)}, list(graph.nodes[: graph.first - FIRST])
        for number in live:
            op, args = graph.node(number)
            moved = [numbers[a] for a in args]
            if number == receiver:
                moved[place] = FIRST + len(nodes)
                nodes.append(Node(inserted.op, tuple(numbers[a] for a in inserted.args)))
            numbers[number] = FIRST + len(nodes)
            nodes.append(Node(op, tuple(moved)))
        longer = Graph(tuple(nodes), numbers[graph.output])
        if len(longer.operations) > self.nodes:
            return None
        return self.embed(longer, rng), f"argument {place + 1} of node {receiver}: {replaced} -> {_written(inserted)}"

    def embed(self, graph: Graph, rng: np.random.Generator) -> Graph:
        """`graph` as a member of the space, padded to `nodes` operations with random dead nodes.

        The dead nodes are inserted at random places before the output, where later mutations can connect them.

        Raises:
            UsageError: the graph has too many operations, or an operation or a leaf that is not in the space.
        """
        if graph.output < graph.first:
            graph = _with_own_output(graph)
        live = [graph.node(number) for number in graph.operations]
        if len(live) > self.nodes:
            raise UsageError(
                f"{shorten(graph.written())} has {len(live)} nodes; the space {self.name!r} allows {self.nodes}"
            )
        for node in live:
            if node.op not in self.ops:
                raise UsageError(f"{shorten(graph.written())} uses {node.op}, which is not in {self.name!r}")
        numbers = {number: number for number in range(FIRST)}
        for number in graph.live:
            if FIRST <= number < graph.first:
                name = graph.node(number).op
                if name not in self.leaves:
                    raise UsageError(f"{shorten(graph.written())} uses {name}, which is not in {self.name!r}")
                numbers[number] = FIRST + self.leaves.index(name)
        is_padding = np.ones(self.nodes, dtype=bool)
        is_padding[rng.choice(self.nodes - 1, size=len(live) - 1, replace=False)] = False
        is_padding[-1] = False
        originals = iter(graph.operations)
        nodes: list[Node] = []
        for number in range(self._first, self._first + self.nodes):
            if is_padding[number - self._first]:
                nodes.append(self._random_node(number, Draws(rng)))
                continue
            original = next(originals)
            op, args = graph.node(original)
            nodes.append(Node(op, tuple(numbers[a] for a in args)))
            numbers[original] = number
        return Graph((*self._leaf_nodes, *nodes), self._first + self.nodes - 1)

    def _random_node(self, number: int, draws: Draws) -> Node:
        name, arity = self._arities[bisect_right(self._thresholds, draws.uniform())]
        if not self.leaves:  # as `_argument` would have it, without a call for each of a million nodes
            one = draws.below(number)
            return Node(name, (one,) if arity == 1 else (one, draws.below(number)))
        one = self._argument(number, draws)
        return Node(name, (one,) if arity == 1 else (one, self._argument(number, draws)))

    def _random_place(self, graph: Graph, rng: np.random.Generator) -> int:
        """The number of a random operation of a member."""
        return self._first + int(rng.integers(len(graph.nodes) - len(self.leaves)))


def generator(seed: int, *counters: int) -> np.random.Generator:
    """A Philox generator that depends only on the run's seed and the given counters."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, *counters))))


def _with_own_output(graph: Graph) -> Graph:
    """A graph whose output is an input, rewritten as a sum with 0 so that its output is an operation."""
    return Graph((*graph.nodes, Node("add", (graph.output, 1))), FIRST + len(graph.nodes))


def _redrawn(graph: Graph, number: int, new: Node) -> tuple[Graph, str]:
    """`graph` with another node at `number`, and a description of the change."""
    place, old = number - FIRST, graph.node(number)
    nodes = (*graph.nodes[:place], new, *graph.nodes[place + 1 :])
    return Graph.of_valid(nodes, graph.output), f"node {number}: {_written(old)} -> {_written(new)}"


def _checked_leaves(leaves: tuple[object, ...]) -> tuple[str, ...]:
    """Names of leaves as graphs spell them, parameters first.

    Raises:
        UsageError: for what is no parameter and no positive number, and for a leaf that every graph has.
    """
    names = dict.fromkeys(_leaf_name(leaf) for leaf in leaves)
    return tuple(sorted(names, key=lambda name: name not in _LEAF_NAMES))


def _leaf_name(leaf: object) -> str:
    text = str(leaf) if isinstance(leaf, str | int | float) and not isinstance(leaf, bool) else ""
    name = constant_name(float(text)) if re.fullmatch(NUMBER, text) else text
    found = leaf_named(name)
    if found is None or name in INPUTS:
        known = ", ".join(sorted(_LEAF_NAMES - set(INPUTS)))
        raise UsageError(f"a leaf of a space must be {known} or a finite positive number, not {shorten(leaf)}")
    return name


def _written(node: Node) -> str:
    return f"{node.op}({', '.join(map(str, node.args))})"
