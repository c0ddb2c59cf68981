"""The cheap filters written directly from SPEC, without regard to speed, as a reference for the fast ones.

Random numbers come from the generator's own methods, graphs are checked node by node, every graph is rewritten in
canonical form before it is judged, and values and gradients come from the reference in PyTorch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from evonas.language.graph import FIRST, Graph, Node, X
from evonas.language.primitive_table import PRIMITIVES
from evonas.layers.reference import evaluate
from evonas.settings.search_space import SearchSpace

PROBES = (((3, 6, 4, 3), 3), ((2, 4, 3, 3), 2))
TWIN_SHAPE, TWIN_GROUPS, TWIN_SCALES = (3, 8, 3, 3), 4, (0.3, 1.0, 3.0)
FLAT = 1e-9


def drawn_operation(space: SearchSpace, rng: np.random.Generator) -> str:
    weights = np.array([space.weights.get(name, 1.0) for name in space.ops])
    place = int(np.searchsorted(np.cumsum(weights / weights.sum()), rng.random(), side="right"))
    return space.ops[min(place, len(space.ops) - 1)]


def argument(space: SearchSpace, number: int, rng: np.random.Generator) -> int:
    """A leaf or an earlier operation; all numbers together are drawn as often as any other."""
    numbers = [FIRST + place for place, name in enumerate(space.leaves) if name[0].isdigit()]
    others = [n for n in range(number) if n not in numbers]
    if len(numbers) < 2:
        return int(rng.integers(number))
    slots = [*others[: numbers[0]], None, *others[numbers[0] :]]
    slot = slots[int(rng.integers(len(slots)))]
    return numbers[int(rng.integers(len(numbers)))] if slot is None else slot


def random_node(space: SearchSpace, number: int, rng: np.random.Generator) -> Node:
    name = drawn_operation(space, rng)
    return Node(name, tuple(argument(space, number, rng) for _ in range(PRIMITIVES[name].arity)))


def random_graph(space: SearchSpace, rng: np.random.Generator) -> Graph:
    leaves = [Node(name, ()) for name in space.leaves]
    first = FIRST + len(leaves)
    nodes = [random_node(space, number, rng) for number in range(first, first + space.nodes)]
    return Graph((*leaves, *nodes), first + space.nodes - 1)


def mutated(space: SearchSpace, graph: Graph, rng: np.random.Generator) -> Graph:
    place = len(space.leaves) + int(rng.integers(space.nodes))
    new = random_node(space, FIRST + place, rng)
    return Graph((*graph.nodes[:place], new, *graph.nodes[place + 1 :]), graph.output)


def respond(graph: Graph, stretch: float = 1.0) -> list[tuple[Tensor, Tensor]]:
    """(output, gradient) for each probe with x multiplied by `stretch`, from the reference and autograd."""
    found = []
    for number, (shape, groups) in enumerate(PROBES):
        rng = np.random.default_rng(20_200_402 + number)
        sizes = (shape, shape[1], shape[1], shape)
        x, v0, v1, weighting = (torch.from_numpy(rng.standard_normal(size)) for size in sizes)
        s0, s1 = torch.from_numpy(rng.standard_normal(2))
        x = (stretch * x).requires_grad_()
        output = evaluate(graph, x, {"v0": v0, "v1": v1, "s0": s0, "s1": s1}, groups=groups)
        gradient = torch.zeros_like(x)
        if output.requires_grad:
            (gradient,) = torch.autograd.grad(output, x, weighting)
        found.append((output.detach(), gradient))
    return found


def numerical(output: Tensor, gradient: Tensor) -> str | None:
    if not output.isfinite().all():
        return "value not finite"
    if not gradient.isfinite().all():
        return "gradient not finite"
    if (output.amax((0, 2, 3)) - output.amin((0, 2, 3)) <= FLAT * output.abs().amax()).all():
        return "constant output"
    return "no gradient" if gradient.abs().max() <= FLAT * output.abs().max() else None


def functional_key(responses: Sequence[tuple[Tensor, Tensor]]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    rng = np.random.default_rng(20_200_402)
    shape = PROBES[0][0]
    weighting = [rng.standard_normal(size) for size in (shape, shape[1], shape[1], shape)][-1]
    sign = -1.0 if float((responses[0][0] * torch.from_numpy(weighting)).sum()) < 0 else 1.0
    for response in responses:
        for values in response:
            flat = sign * values.reshape(-1)
            scale = float(flat.abs().max())
            digest.update(f"{scale:.5e}".encode())
            if scale > 0:
                digest.update((torch.round(flat / scale, decimals=6) + 0.0).numpy().tobytes())
    return digest.hexdigest()


def is_rounding(graph: Graph) -> bool:
    """Whether the response of the graph depends on rounding, as in x / mean_wh(x - mean_wh(x)), a division by 0.

    For other graphs a change of x in the thirteenth digit does not change the sixth digit of the response, except for
    one in a hundred thousand.
    """
    plain, stretched = respond(graph), respond(graph, 1 + 1e-13)
    return functional_key(plain) != functional_key(stretched) or any(
        numerical(*one) != numerical(*other) for one, other in zip(plain, stretched, strict=True)
    )


def start_response(graph: Graph) -> np.ndarray | None:
    rng = np.random.default_rng(20_200_403)
    b, c, _, _ = TWIN_SHAPE
    x = rng.standard_normal(TWIN_SHAPE) * np.exp(0.5 * rng.standard_normal((1, c, 1, 1)))
    x += 0.5 * rng.standard_normal((1, c, 1, 1)) + 0.3 * rng.standard_normal((b, 1, 1, 1))
    parts = [
        evaluate(graph, torch.from_numpy(scale * x), groups=TWIN_GROUPS).reshape(-1) / scale for scale in TWIN_SCALES
    ]
    response = torch.cat(parts).float().numpy()
    return response if np.isfinite(response).all() else None


def follows_x(graph: Graph, number: int) -> bool:
    """Whether a value follows x position by position, rather than through statistics alone."""
    if number == X or graph.leaf(number) is not None:
        return number == X
    op, args = graph.node(number)
    return not PRIMITIVES[op].is_aggregation and any(follows_x(graph, a) for a in args)


@dataclass
class PlainFilters:
    """A plain version of `CheapFilters`. A verdict is the name of a filter, and for the numerical one a reason."""

    twins: float = 0.0
    keys: set[str] = field(default_factory=set)
    functional_keys: set[str] = field(default_factory=set)
    starts: list[np.ndarray] = field(default_factory=list)

    def judge(self, graph: Graph) -> tuple[str, str]:
        """(filter, reason), or ("passed", functional key)."""
        canonical = Graph(graph.canonical.nodes, graph.canonical.output)  # its nodes are checked again
        if X not in canonical.live or not follows_x(canonical, canonical.output):
            return "structural", ""
        if canonical.key in self.keys:
            return "duplicate", ""
        responses = respond(canonical)
        for response in responses:
            if reason := numerical(*response):
                return "numerical", reason
        functional = functional_key(responses)
        if functional in self.functional_keys:
            return "functional", ""
        if self.twins > 0 and self._is_twin(canonical):
            return "twin", ""
        return "passed", functional

    def _is_twin(self, graph: Graph) -> bool:
        start = start_response(graph)
        if start is None:
            return False
        reach = self.twins * np.linalg.norm(start)
        return any(np.linalg.norm(start - sign * other) <= reach for other in self.starts for sign in (1, -1))

    def remember(self, graph: Graph, functional: str) -> None:
        self.keys.add(graph.key)
        self.functional_keys.add(functional)
        if self.twins > 0 and (start := start_response(graph)) is not None:
            self.starts.append(start)
