"""Search spaces: which graphs may be drawn, how they are drawn, and how they mutate.

A space is a value to copy and edit: `dataclasses.replace(evonorm, nodes=14)`. Sampling and mutation
follow Liu et al. 2020, section 3.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

import numpy as np

from evonas.errors import UsageError, shorten, unknown
from evonas.language.graph import FIRST, Graph, Node
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
MAX_OPERATIONS = 64
"""Most nodes of a space; a graph's canonical form may be longer and must still be a graph."""


@dataclass(frozen=True)
class SearchSpace:
    """A set of graphs with a distribution over them.

    Attributes:
        name: how commands and records call it.
        operations: names of element-wise operations, and of moments ("mean", "rms", "std"), each of which
            stands for one operation per index set; those of the paper where not given.
        index_sets: the index sets of the aggregations; those of the paper where not given.
        nodes: number of operations in a graph, dead ones included.
        weights: relative frequency of operations by full name ("std_wh"); 1 where not given.

    Raises:
        UsageError: for an unknown operation, index set or weight, or a number of nodes out of range.
    """

    name: str
    operations: tuple[str, ...] = PUBLISHED_OPERATIONS
    index_sets: tuple[str, ...] = PUBLISHED_INDEX_SETS
    nodes: int = 10
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("operations", "index_sets"):
            if not isinstance(getattr(self, name), list | tuple):
                raise UsageError(f"{name} should be a tuple of names, not {shorten(getattr(self, name))}")
            # Lists are taken too; as tuples, equal spaces compare equal.
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not isinstance(self.weights, Mapping):
            raise UsageError(f"weights should be a mapping from operations to numbers, not {shorten(self.weights)}")
        object.__setattr__(self, "weights", dict(self.weights))
        for operation in self.operations:
            if operation not in ELEMENTWISE_NAMES + MOMENT_NAMES:
                raise unknown("operation", operation, ELEMENTWISE_NAMES + MOMENT_NAMES)
        for index_set in self.index_sets:
            if index_set not in INDEX_SET_NAMES:
                raise unknown("index set", index_set, INDEX_SET_NAMES)
        if not isinstance(self.nodes, int) or not 1 <= self.nodes <= MAX_OPERATIONS:
            raise UsageError(f"a space has between 1 and {MAX_OPERATIONS} nodes, not {shorten(self.nodes)}")
        for name, weight in self.weights.items():
            if name not in self.ops:
                raise unknown("operation to weight", name, self.ops)
            if not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
                raise UsageError(f"the weight of {shorten(name)} should be 0 or more, not {shorten(weight)}")
        if not sum(self._probabilities) > 0:
            raise UsageError(f"the space {shorten(self.name)} has no operation that may be drawn")

    @cached_property
    def ops(self) -> tuple[str, ...]:
        """Full names of the operations that may be drawn."""
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
        """Where one operation's share of the numbers from 0 to 1 ends and the next one's begins."""
        return tuple(accumulate(self._probabilities))[:-1]

    @cached_property
    def _arities(self) -> tuple[tuple[str, int], ...]:
        return tuple((name, PRIMITIVES[name].arity) for name in self.ops)

    def random_graph(self, rng: np.random.Generator) -> Graph:
        """A graph whose operations, then arguments, are drawn independently; the last node is the output."""
        draws = Draws(rng)
        nodes = [self._random_node(number, draws) for number in range(FIRST, FIRST + self.nodes)]
        return Graph.of_valid(tuple(nodes), FIRST + self.nodes - 1)

    def mutate(self, graph: Graph, rng: np.random.Generator) -> tuple[Graph, str]:
        """`graph` with one node redrawn, operation and arguments, and what was replaced in words.

        The graph is a member of the space, as `random_graph` and `embed` give it.
        """
        place = int(rng.integers(len(graph.nodes)))
        old, new = graph.nodes[place], self._random_node(FIRST + place, Draws(rng))
        nodes = (*graph.nodes[:place], new, *graph.nodes[place + 1 :])
        return Graph.of_valid(nodes, graph.output), f"node {FIRST + place}: {_written(old)} -> {_written(new)}"

    def embed(self, graph: Graph, rng: np.random.Generator) -> Graph:
        """`graph` as a member of the space: brought to `nodes` operations with random dead ones.

        The padding stands at random places before the output, where later mutations can reach it.

        Raises:
            UsageError: when the graph has too many operations or one that is not in the space.
        """
        if graph.output < FIRST:
            graph = _with_own_output(graph)
        live = [graph.node(number) for number in graph.live if number >= FIRST]
        if len(live) > self.nodes:
            raise UsageError(
                f"{shorten(graph.written())} has {len(live)} nodes; the space {self.name!r} allows {self.nodes}"
            )
        for node in live:
            if node.op not in self.ops:
                raise UsageError(f"{shorten(graph.written())} uses {node.op}, which is not in {self.name!r}")
        is_padding = np.ones(self.nodes, dtype=bool)
        is_padding[rng.choice(self.nodes - 1, size=len(live) - 1, replace=False)] = False
        is_padding[-1] = False
        numbers = {number: number for number in range(FIRST)}
        originals = iter([number for number in graph.live if number >= FIRST])
        nodes: list[Node] = []
        for place in range(self.nodes):
            if is_padding[place]:
                nodes.append(self._random_node(FIRST + place, Draws(rng)))
                continue
            original = next(originals)
            op, args = graph.node(original)
            nodes.append(Node(op, tuple(numbers[a] for a in args)))
            numbers[original] = FIRST + place
        return Graph(tuple(nodes), FIRST + self.nodes - 1)

    def _random_node(self, number: int, draws: Draws) -> Node:
        name, arity = self._arities[bisect_right(self._thresholds, draws.uniform())]
        one = draws.below(number)
        return Node(name, (one,) if arity == 1 else (one, draws.below(number)))


def generator(seed: int, *counters: int) -> np.random.Generator:
    """A generator that depends on nothing but the run's seed and the given counters (Philox)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, *counters))))


def _with_own_output(graph: Graph) -> Graph:
    """A graph that hands an input through, written as a sum with 0, so that it has an operation."""
    return Graph((*graph.nodes, Node("add", (graph.output, 1))), FIRST + len(graph.nodes))


def _written(node: Node) -> str:
    return f"{node.op}({', '.join(map(str, node.args))})"
