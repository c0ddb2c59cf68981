"""The response of a graph to fixed random probes, and the functional key made of it.

Different graphs can be the same function in ways that no rewrite rule finds. Each graph is evaluated by
the reference in float64 on random inputs of two shapes and batch sizes, with v0 and v1 drawn at random
(at 0 and 1 different graphs would coincide), and so is the gradient of a random weighting of its output.
Rounded to six digits and hashed, the numbers are the functional key: graphs that share it are one
candidate. The key disregards the sign of the output, which the affine and the next convolution absorb.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from evonas.reference import evaluate

if TYPE_CHECKING:
    from torch import Tensor

    from evonas.graph import Graph

_SHAPES = ((3, 6, 4, 3), (2, 4, 3, 3))
_GROUPS = (3, 2)  # neither one channel a group nor one group: the four index sets stay distinct
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Response:
    """What a graph answers to one probe.

    Attributes:
        output: (b, c, h, w), float64.
        gradient: of a fixed random weighting of the output, by the input; same shape.
    """

    output: Tensor
    gradient: Tensor


@dataclass(frozen=True, slots=True)
class _Probe:
    x: Tensor
    v0: Tensor
    v1: Tensor
    weighting: Tensor
    groups: int


@cache
def _probe(number: int) -> _Probe:
    rng = np.random.default_rng(20_200_402 + number)
    b, c, h, w = _SHAPES[number]

    def draw(*shape: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape))

    return _Probe(draw(b, c, h, w), draw(c), draw(c), draw(b, c, h, w), _GROUPS[number])


PROBES = len(_SHAPES)


def respond(graph: Graph, number: int) -> Response:
    """The response of `graph` to probe `number`, below `PROBES`."""
    probe = _probe(number)
    x = probe.x.clone().requires_grad_()
    output = evaluate(graph, x, probe.v0, probe.v1, groups=probe.groups)
    if not output.requires_grad:
        return Response(output, torch.zeros_like(x))
    (gradient,) = torch.autograd.grad(output, x, probe.weighting)
    return Response(output.detach(), gradient)


def functional_key(responses: list[Response]) -> str:
    """The key of finite responses to all probes: 16 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=8)
    sign = _sign(responses[0].output)
    for response in responses:
        for values in (response.output, response.gradient):
            flat = sign * values.contiguous().view(-1)
            scale = float(flat.abs().max())
            digest.update(f"{scale:.{_DIGITS - 1}e}".encode())
            if scale > 0:
                # + 0.0 turns -0.0 into 0.0, which has other bytes.
                digest.update((torch.round(flat / scale, decimals=_DIGITS) + 0.0).numpy().tobytes())
    return digest.hexdigest()


def _sign(output: Tensor) -> float:
    """The sign of a fixed random weighting of the output of probe 0.

    Not of its largest value: where x / abs(x) times a statistic is largest, and with which sign, is a
    matter of rounding.
    """
    return -1.0 if float((output * _probe(0).weighting).sum()) < 0 else 1.0
