"""The response of a graph to fixed random probes, and its hash, the functional key.

Different graphs can be the same function in ways that no rewrite rule finds. Each graph is evaluated in float64 on
random inputs of two shapes and batch sizes, with parameters drawn at random (at 0 and 1 different graphs would
coincide), together with the gradient of a random weighting of its output. The numbers are rounded to six digits and
hashed; graphs with the same key are one candidate. The key ignores the sign of the output, which the affine and the
next convolution absorb.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from evonas.judging.numpy_evaluation import Probe, Probes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evonas.language.graph import Graph

    Array = NDArray[np.float64]

_SHAPES = ((3, 6, 4, 3), (2, 4, 3, 3))
_GROUPS = (3, 2)  # neither one channel per group nor a single group, so that the four index sets differ
_DIGITS = 6
_STEPS = 10.0**_DIGITS


@dataclass(frozen=True, slots=True)
class ProbeResponse:
    """The response of a graph to one probe.

    Attributes:
        output: the output, (b, c, h, w), float64.
        gradient: the gradient of a fixed random weighting of the output with respect to the input, of the same shape.
    """

    output: Array
    gradient: Array


@cache
def probes() -> tuple[Probes, Array]:
    """The probes, and the weights of the outputs whose gradient is computed, as one vector for all probes."""
    drawn, weightings = [], []
    for number, (shape, groups) in enumerate(zip(_SHAPES, _GROUPS, strict=True)):
        rng = np.random.default_rng(20_200_402 + number)
        channels = shape[1]
        x, v0, v1 = (rng.standard_normal(size) for size in (shape, channels, channels))
        weightings.append(rng.standard_normal(shape).ravel())
        # Drawn last, so that the layers of published spaces keep their keys.
        s0, s1 = rng.standard_normal(2)
        drawn.append(Probe(x, groups, {"v0": v0, "v1": v1, "s0": s0, "s1": s1}))
    return Probes(drawn), np.concatenate(weightings)


def respond(graph: Graph) -> tuple[ProbeResponse, ...]:
    """The response of `graph` to each probe."""
    all_probes, weighting = probes()
    output, gradient = all_probes.differentiate(graph, weighting)
    return tuple(map(ProbeResponse, all_probes.parts(output), all_probes.parts(gradient)))


def functional_key(responses: Sequence[ProbeResponse]) -> str:
    """The functional key of finite responses to all probes: 16 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=8)
    sign = _sign(responses[0].output)
    for response in responses:
        for values in (response.output, response.gradient):
            scale = float(np.abs(values).max())
            digest.update(f"{scale:.{_DIGITS - 1}e}".encode())
            if scale > 0:
                # + 0.0 turns -0.0 into 0.0, whose bytes differ.
                digest.update((np.rint(sign * values / scale * _STEPS) / _STEPS + 0.0).tobytes())
    return digest.hexdigest()


def _sign(output: Array) -> float:
    """The sign of a fixed random weighting of the output of probe 0.

    The sign of the largest value would not do: for x / abs(x) times a statistic, rounding decides which value is
    largest, and so its sign.
    """
    _, weighting = probes()
    with np.errstate(over="ignore", invalid="ignore"):
        return -1.0 if float(output.ravel() @ weighting[: output.size]) < 0 else 1.0
