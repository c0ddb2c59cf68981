"""A user's own training loop (`evonas.settings.own_score`), called for one layer."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from evonas.errors import UsageError, shorten
from evonas.judging.hurdles import Checkpoint
from evonas.settings.own_score import SCORE_REGISTRY, arguments
from evonas.settings.plugins import errors_in_file, file_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evonas.layers.layer_factory import LayerFactory
    from evonas.layers.modules.module_factory import ModuleFactory
    from evonas.settings.evaluation_protocol import EvaluationProtocol

SCORE = "score"
"""The key of the score in what a function returns."""


class _Behind(BaseException):
    """Ends the user's loop at a hurdle; no `Exception`, so that a loop which catches those does not go on."""


class Report:
    """What a training loop calls with its steps and values.

    Args:
        hurdles: the checkpoints of the protocol, in order.
        clears: says whether a value clears a checkpoint, and records it.

    Attributes:
        stopped: whether the candidate fell behind. A loop that goes on nevertheless has no score.
    """

    def __init__(self, hurdles: Sequence[Checkpoint], clears: Callable[[Checkpoint, float], bool]) -> None:
        self._left, self._clears = list(hurdles), clears
        self.stopped = False

    def __call__(self, step: int, value: float) -> None:
        """Compare a value, the higher the better, with earlier candidates if the step is a checkpoint or past one.

        Raises:
            UsageError: The step or the value is not a number.
        """
        if not _is_number(step) or not _is_number(value):
            raise UsageError(f"report takes a step and a value, two numbers, not {shorten((step, value))}")
        while self._left and not self.stopped and step >= (self._left[0].step or 0):
            self.stopped = not self._clears(self._left.pop(0), float(value))
        if self.stopped:
            raise _Behind


def run_own_loop(
    layer: LayerFactory | ModuleFactory, protocol: EvaluationProtocol, split: str, report: Report
) -> Mapping[str, float] | None:
    """Call the function that a protocol names.

    Args:
        layer: the layer.
        protocol: the protocol, with the seed.
        split: what to score on, as `evonas.settings.own_score` says.
        report: what the function is given to call.

    Returns:
        What it returned, with a finite score, which is 0 for a training that diverged; None if it was stopped at a
        hurdle.

    Raises:
        UsageError: It raised an exception, or returned something else; the message gives the line.
    """
    score = SCORE_REGISTRY.find(protocol.score)
    with _seeded(protocol.seed):
        try:
            with errors_in_file(file_of(protocol.score)):
                found = score(layer, protocol.seed, report, **arguments(score, protocol, split))
        except _Behind:
            return None
    return None if report.stopped else _checked(protocol.score, found)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of PyTorch, NumPy and Python, and leave nothing of what a loop changes behind."""
    python, numpy, dtype = random.getstate(), np.random.get_state(), torch.get_default_dtype()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  # what a user's loop draws from
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
            torch.set_default_dtype(dtype)


def _checked(name: str, found: Any) -> Mapping[str, float]:
    values = dict(found) if isinstance(found, Mapping) else {SCORE: found}
    if SCORE not in values:
        raise UsageError(f"{name} returned a mapping without {SCORE!r}: {shorten(found)}")
    for key, value in values.items():
        if not _is_number(value):
            raise UsageError(f"{name} returned {shorten(value)} as {key}, which is not a number")
    score = float(values[SCORE])
    if score < 0.0:
        raise UsageError(
            f"{name} returned a score of {score:g}: scores are 0 or above, and 0 stands for a training that diverged. "
            "Return exp(-loss) instead of a loss, say"
        )
    return {key: float(value) for key, value in values.items()} | {SCORE: score if math.isfinite(score) else 0.0}


def _is_number(value: object) -> bool:
    if isinstance(value, bool | str | bytes):
        return False
    try:
        float(value)  # type: ignore[arg-type]  # also a NumPy number or a tensor with one element
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return False
    return True
