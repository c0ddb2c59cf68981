"""A search written directly from SPEC, without regard to speed, as a reference for recorded runs.

For each candidate the window and the values at each checkpoint are determined anew from the recorded evaluations.
Fronts and crowding distances are computed from their definitions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf, isnan
from typing import Any

import numpy as np
from numpy.linalg import norm

from evonas.judging.start_twins import read_sketch, sketch, start_response
from evonas.language.graph import FIRST, Graph, Node
from evonas.language.primitive_table import PRIMITIVES
from evonas.settings.candidate import Evaluation, Origin, OriginKind, Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import RunConfig
from evonas.settings.search_space import SearchSpace
from tests.plain_filters import PlainFilters, drawn_operation, random_graph, random_node

SMALLER_IS_BETTER = {"size", "step-time", "saved-bytes"}
LEAST_BEFORE = 20
"""Values that a checkpoint has to have seen before it turns anyone away."""

Point = tuple[float, ...]


@dataclass(frozen=True)
class Drawn:
    """The candidate that should have been drawn, and the floors that it should have had at each checkpoint."""

    graph: Graph
    functional_key: str
    origin: Origin
    discarded: dict[str, int]
    floors: dict[str, float]


@dataclass
class PlainSearch:
    """Draws the candidates of a run again.

    Args:
        config: the configuration of the run.
        evaluations: its recorded evaluations, one for each candidate, in order of index.
    """

    config: RunConfig
    evaluations: Sequence[Evaluation]
    drawn: list[Drawn] = field(default_factory=list)
    full_windows: set[tuple[int, ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        assert [e.index for e in self.evaluations] == list(range(len(self.evaluations)))
        filters = PlainFilters(twins=self.config.twins)
        for index in range(len(self.evaluations)):
            self.drawn.append(self._draw(index, filters))

    def _draw(self, index: int, filters: PlainFilters) -> Drawn:
        config = self.config
        seen = [e for e in self.evaluations if e.index <= index - config.lookahead]
        window = [e for e in seen if e.status is Status.SCORED][-config.population :]
        if len(window) == config.population:
            self.full_windows.add(tuple(e.index for e in window))
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((config.seed, 0, index))))
        discarded = Counter[str]()
        if index < len(config.seed_graphs):
            graph = embedded(config.space, Graph.from_json(config.seed_graphs[index]), rng)
            verdict, functional_key = filters.judge(graph)
            if verdict == "passed":
                filters.remember(graph, functional_key)
                return Drawn(graph, functional_key, Origin(OriginKind.SEED), {}, floors(config, seen))
            discarded[verdict] += 1
        if config.choices > 1 and rng.random() >= config.strays:
            graph, functional_key, origin = self._chosen(window, filters, rng, seen, discarded)
        else:
            while not (found := self._passed(self._parent(window, rng), filters, rng, discarded)):
                pass
            graph, functional_key, origin = found
        filters.remember(graph, functional_key)
        return Drawn(graph, functional_key, origin, dict(discarded), floors(config, seen))

    def _passed(
        self, parent: int | None, filters: PlainFilters, rng: np.random.Generator, discarded: Counter[str]
    ) -> tuple[Graph, str, Origin] | None:
        """A proposal of a parent with its functional key, if it passes."""
        config = self.config
        graph, origin = self._proposed(parent, rng)
        verdict, functional_key = filters.judge(graph)
        if verdict == "passed" and parent is not None and config.stride:
            gap = distance(*(plain_response(each.canonical) for each in (graph, self.drawn[parent].graph)))
            inside = config.stride[0] <= gap <= config.stride[1]
            verdict = verdict if inside or rng.random() < config.strays else "stride"
        if verdict == "passed":
            return graph, functional_key, origin
        discarded[verdict] += 1
        return None

    def _chosen(
        self,
        window: Sequence[Evaluation],
        filters: PlainFilters,
        rng: np.random.Generator,
        seen: Sequence[Evaluation],
        discarded: Counter[str],
    ) -> tuple[Graph, str, Origin]:
        """The best of several proposals of one parent."""
        found: list[tuple[Graph, str, Origin]] = []
        while not found:
            parent = self._parent(window, rng)
            for _ in range(20 * self.config.choices):
                if len(found) < self.config.choices and (one := self._passed(parent, filters, rng, discarded)):
                    found.append(one)
                if len(found) == self.config.choices:
                    break
        discarded["prospects"] += len(found) - 1
        return max(found, key=lambda each: self._appeal(each[0], seen))

    def _appeal(self, graph: Graph, seen: Sequence[Evaluation]) -> float:
        """The weighted mean accuracy at the quality test of the ten candidates nearest to a graph, where it is 0 of
        those that did not learn, times the distance to the nearest."""
        start, near = plain_sketch(graph), []
        for one in seen:
            other = plain_sketch(self.drawn[one.index].graph)
            if start is not None and other is not None:
                stopped = one.filters[-1].name if one.status is Status.REJECTED else ""
                learned = one.status is Status.SCORED or stopped.startswith("hurdle")
                accuracy = sum(o.value for o in one.filters if o.name == "quality") if learned else 0.0
                near.append((distance(start, other), accuracy))
        near = sorted(near, key=lambda each: each[0])[:10]
        weights = [(gap + 0.03) ** -2 for gap, _ in near]
        promise = sum(weight * accuracy for weight, (_, accuracy) in zip(weights, near, strict=True))
        return min(near[0][0], 0.3) * promise / (sum(weights) + 2) if near else 0.0

    def _parent(self, window: Sequence[Evaluation], rng: np.random.Generator) -> int | None:
        """The index of the parent; None for a random graph."""
        fresh = rng.random() < self.config.fresh
        return None if fresh or not window or self.config.strategy == "random" else parent_in(window, self.config, rng)

    def _proposed(self, parent: int | None, rng: np.random.Generator) -> tuple[Graph, Origin]:
        config = self.config
        if parent is None:
            return random_graph(config.space, rng), Origin(OriginKind.RANDOM)
        graph, changes = self.drawn[parent].graph, []
        count = config.mutations
        for _ in range(1 + int(rng.integers(count)) if config.mutation == "edit" else count):
            graph, change = mutated(config, graph, rng)
            changes.append(change)
        return graph, Origin(OriginKind.MUTATION, parent, tuple(changes))


def plain_response(graph: Graph) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The output at the start of training; not a number where it is not finite, so that it is near nothing."""
    response = start_response(graph)
    return np.full(648, np.nan) if response is None else response.astype(np.float64)


def plain_sketch(graph: Graph) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None:
    """What is recorded of the output at the start of training; None where it is not finite."""
    recorded = sketch(graph.canonical)
    if not recorded:
        return None
    length, direction = read_sketch(recorded)
    if not np.isfinite(length):
        return None
    return length * direction / np.linalg.norm(direction) if length > 0 else 0 * direction


def distance(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """The distance of two vectors, up to the sign, as a share of the longer one."""
    nearer, longer = min(norm(one - other), norm(one + other)), max(norm(one), norm(other))
    return float(nearer / longer) if longer else 0.0


def mutated(config: RunConfig, graph: Graph, rng: np.random.Generator) -> tuple[Graph, str]:
    """A mutant and what was changed, by the setting `mutation`."""
    if config.mutation == "edit" and rng.random() < 0.5:
        longer, change = inserted(config.space, graph, rng)
        if len(longer) <= config.space.nodes:
            return embedded(config.space, Graph(longer, FIRST + len(longer) - 1), rng), change
    place = int(rng.integers(len(graph.nodes)))
    number, old = FIRST + place, graph.nodes[place]
    if config.mutation == "node":
        new = random_node(config.space, number, rng)
    elif part := int(rng.integers(1 + len(old.args))):
        args = list(old.args)
        args[part - 1] = int(rng.integers(number))
        new = Node(old.op, tuple(args))
    else:
        new = Node(drawn_operation(config.space, rng), ())
        wanted, kept = PRIMITIVES[new.op].arity, list(old.args)
        if wanted < len(kept):
            kept = [kept[int(rng.integers(2))]]
        new = Node(new.op, (*kept, *(int(rng.integers(number)) for _ in range(wanted - len(kept)))))
    changed = Graph((*graph.nodes[:place], new, *graph.nodes[place + 1 :]), graph.output)
    return changed, f"node {number}: {written(old)} -> {written(new)}"


def inserted(space: SearchSpace, graph: Graph, rng: np.random.Generator) -> tuple[tuple[Node, ...], str]:
    """The live nodes of a graph with a new one at an argument of one of them, and what was changed."""
    live = [number for number in graph.live if number >= FIRST]
    receiver = live[int(rng.integers(len(live)))]
    place = int(rng.integers(len(graph.node(receiver).args)))
    before = [*range(FIRST), *(number for number in live if number < receiver)]
    op, old = drawn_operation(space, rng), graph.node(receiver).args[place]
    args = [old if rng.integers(2) else before[int(rng.integers(len(before)))]]
    if PRIMITIVES[op].arity == 2:
        args.append(before[int(rng.integers(len(before)))])
    new = Node(op, tuple(args))
    # Numbers below 1,000 are those of the graph; the new node has 1,000.
    nodes = {number: graph.node(number) for number in live} | {1000: new}
    wanted = list(nodes[receiver].args)
    wanted[place] = 1000
    nodes[receiver] = Node(nodes[receiver].op, tuple(wanted))
    order = sorted(nodes, key=lambda number: (receiver - 0.5) if number == 1000 else number)
    used = {graph.output}
    for number in reversed(order):
        used |= set(nodes[number].args) if number in used else set()
    order = [number for number in order if number in used]
    at = {number: number for number in range(FIRST)} | {number: FIRST + i for i, number in enumerate(order)}
    found = tuple(Node(nodes[number].op, tuple(at[a] for a in nodes[number].args)) for number in order)
    return found, f"argument {place + 1} of node {receiver}: {old} -> {written(new)}"


def written(node: Node) -> str:
    """An operation with the numbers of its arguments, as in records of mutations."""
    return node.op + "(" + ", ".join(str(number) for number in node.args) + ")"


def embedded(space: SearchSpace, graph: Graph, rng: np.random.Generator) -> Graph:
    """The operations of a graph at random places of a larger graph, the last at its end, with random ones between."""
    operations = [number for number in graph.live if number >= FIRST]
    assert operations and operations[-1] == graph.output
    places = sorted(rng.choice(space.nodes - 1, size=len(operations) - 1, replace=False).tolist())
    at = dict(zip([*places, space.nodes - 1], operations, strict=True))
    nodes: list[Node] = []
    for place in range(space.nodes):
        if place not in at:
            nodes.append(random_node(space, FIRST + place, rng))
            continue
        op, args = graph.node(at[place])
        moved = {old: FIRST + new for new, old in at.items()}
        nodes.append(Node(op, tuple(moved.get(number, number) for number in args)))
    return Graph(tuple(nodes), FIRST + space.nodes - 1)


def point(evaluation: Evaluation, protocol: EvaluationProtocol) -> Point:
    """The objectives that selection compares; higher is better."""
    found: list[float] = []
    for name in protocol.objectives:
        if name == "anchors":
            found += [evaluation.scores[anchor] for anchor in protocol.anchors]
        elif name in protocol.anchors:
            found.append(evaluation.scores[name])
        else:
            found.append(evaluation.measures[name] * (-1 if name in SMALLER_IS_BETTER else 1))
    return tuple(found)


def parent_in(window: Sequence[Evaluation], config: RunConfig, rng: np.random.Generator) -> int:
    """The index of the parent that a run's strategy chooses."""
    if config.strategy == "nsga2":
        return window[nsga2(window, config, rng)].index
    entered = min(len(window), max(config.smallest_tournament, round(config.tournament * len(window))))
    tournament = [window[int(place)] for place in rng.choice(len(window), size=entered, replace=False)]
    if config.strategy == "average":
        means = [sum(e.scores.values()) / len(e.scores) for e in tournament]
        best = [e for e, mean in zip(tournament, means, strict=True) if mean == max(means)]
    else:
        best = [tournament[place] for place in next(fronts([point(e, config.protocol) for e in tournament]))]
    return best[int(rng.choice(len(best)))].index


def fronts(points: Sequence[Point]) -> Iterator[list[int]]:
    """The places of the points of the first front, of the second, and so on."""

    def dominates(one: Point, other: Point) -> bool:
        return all(a >= b for a, b in zip(one, other, strict=True)) and one != other

    left = list(range(len(points)))
    while left:
        front = [i for i in left if not any(dominates(points[j], points[i]) for j in left)]
        yield front
        left = [i for i in left if i not in front]


def crowding(points: Sequence[Point]) -> list[float]:
    """The crowding distances of Deb et al. 2002: how far apart a point's neighbours are, infinite at the ends."""
    distances = [0.0] * len(points)
    for values in zip(*points, strict=True):
        order = sorted(range(len(points)), key=lambda i: values[i])
        distances[order[0]] = distances[order[-1]] = inf
        for before, i, after in zip(order, order[1:], order[2:], strict=False):
            distances[i] += (values[after] - values[before]) / (values[order[-1]] - values[order[0]])
    return distances


def nsga2(window: Sequence[Evaluation], config: RunConfig, rng: np.random.Generator) -> int:
    """The place of the winner of a binary tournament among the survivors of a window."""
    points = [point(e, config.protocol) for e in window]
    # Equal values would leave the order of neighbours undefined.
    assert all(len(set(values)) == len(values) for values in zip(*points, strict=True))
    survivors: dict[int, tuple[int, float]] = {}
    for rank, front in enumerate(fronts(points)):
        distances = dict(zip(front, crowding([points[i] for i in front]), strict=True))
        room = config.survivors - len(survivors)
        if room < len(front):
            # Ties between the ends of a front are broken by pymoo's own generator.
            shuffled = [front[int(i)] for i in np.random.default_rng(0).permutation(len(front))]
            front = sorted(shuffled, key=lambda i: distances[i])[::-1][:room]
        survivors |= {i: (rank, -distances[i]) for i in front}
    places = sorted(survivors)
    one, other = (places[int(i)] for i in rng.integers(len(places), size=2))
    return other if survivors[other] < survivors[one] else one


def checkpoints(protocol: EvaluationProtocol) -> list[str]:
    """The hurdle steps of all anchors except the first, and the ends of as many as the protocol says, by default of all
    except the last."""
    names = [f"hurdle {a} {step}" for a in protocol.anchors[1:] for step in protocol.hurdle_steps]
    ends = protocol.anchors[:-1] if protocol.hurdle_steps else ()
    if protocol.hurdle_ends is not None:
        ends = protocol.anchors[:-1][: protocol.hurdle_ends]
    return names + [f"hurdle {a} end" for a in ends]


def floors(config: RunConfig, seen: Sequence[Evaluation]) -> dict[str, float]:
    """The quantile of the newest values of each checkpoint that has enough of them."""
    found = {}
    for name in checkpoints(config.protocol):
        values = [o.value for e in seen for o in e.filters if o.name == name]
        newest = [value for value in values if value is not None and not isnan(value)]
        newest = newest[-max(config.population, LEAST_BEFORE) :]
        if len(newest) >= LEAST_BEFORE and config.protocol.hurdle_quantile > 0:
            found[name] = float(np.quantile(newest, config.protocol.hurdle_quantile, method="lower"))
    return found
