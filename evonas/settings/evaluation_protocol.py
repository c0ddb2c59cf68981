"""How a candidate is judged and scored on a worker: data, networks, training, filters, objectives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from evonas.errors import UsageError, shorten
from evonas.layers.backend import BACKENDS
from evonas.settings.objectives import ANCHORS, check_objectives, recall


@dataclass(frozen=True)
class EvaluationProtocol:
    """Everything that a worker needs to know beside the layer.

    Attributes:
        data: name of the data set.
        data_dir: its folder or file, for those that have one.
        image_size: height and width that images are resampled to when they are read; None leaves them.
        pad: zeros added on each side of a training image before it is cropped.
        crop: height and width of a random crop of each training image; None for the image's own size.
            Validation and test images stay whole.
        flip: whether training images are mirrored left to right at random.
        anchors: names of the anchor networks, each with a width multiplier after ``@`` if wanted; the
            filters use the first.
        steps, batch, lr, momentum, weight_decay, schedule: training of one anchor.
        device: where networks are trained.
        precision: type that convolutions and the like compute in (automatic mixed precision); weights and
            statistics stay in float32.
        channels_last: whether images and weights are laid out with channels last.
        backend: what computes the layers under search (`evonas.layers.backend`); "auto" takes kernels made for them,
            but for what is done once or needs second derivatives.
        signal: whether the signal-propagation filter runs.
        stability_steps: steps of gradient ascent after which the stability filter looks at the gradient's
            norm; empty for no such filter.
        stability_rate: step size of the ascent.
        stability_limit: norm of the gradient beyond which it rejects.
        early_steps: steps of the first anchor after which a candidate at chance is turned away; those that
            the quality test comes before are left out.
        early_floors: accuracy on the last training batches that it needs by each of `early_steps`.
        quality_step: step of the first anchor at which the quality filter tests validation accuracy.
        quality_floor: accuracy under which the quality filter rejects; twice chance on ten classes.
        hurdle_steps: steps of every anchor but the first at which a candidate is compared with earlier
            ones; with any, it is also compared at the end of every anchor but the last. Empty for no hurdles.
        hurdle_quantile: share of the earlier candidates that it has to keep up with there; at 0 what they
            had is recorded and nobody is turned away.
        objectives: what candidates are selected by: "anchors" for the accuracy on each anchor, an anchor's
            name for the accuracy on that one, and names of `evonas.settings.objectives.OBJECTIVES`.
        filters: further filters, of the user's own (`evonas.settings.plugins`); they come before anything is trained.
        plugins: what the run recorded of the user's files and packages that names refer to.
        seed: of initial weights and batches; the same for all candidates of a run, so that they are
            compared on equal terms.

    Raises:
        UsageError: a setting is out of its range.
    """

    data: str = "digits"
    data_dir: str | None = None
    image_size: int | None = None
    pad: int = 0
    crop: int | None = None
    flip: bool = False
    anchors: tuple[str, ...] = ("resnet-small", "mobilenet-small", "efficientnet-small")
    steps: int = 100
    batch: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Literal["constant", "cosine"] = "cosine"
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = True
    backend: Literal["auto", "reference", "triton", "cpp"] = "auto"
    signal: bool = True
    stability_steps: tuple[int, ...] = (5,)
    stability_rate: float = 1.0
    stability_limit: float = 1e8
    early_steps: tuple[int, ...] = (20, 60)
    early_floors: tuple[float, ...] = (0.1, 0.13)
    quality_step: int = 100
    quality_floor: float = 0.2
    hurdle_steps: tuple[int, ...] = (60,)
    hurdle_quantile: float = 0.5
    objectives: tuple[str, ...] = (ANCHORS,)
    filters: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.anchors:
            raise UsageError("at least one anchor is needed to score a candidate")
        if len(set(self.anchors)) < len(self.anchors):
            raise UsageError(f"an anchor is named twice: {', '.join(self.anchors)}")
        if len(self.early_steps) != len(self.early_floors):
            raise UsageError("early_steps and early_floors should be equally long")
        recall(self.plugins)
        check_objectives(self.objectives, self.anchors)
        check_whole(self, steps=1, batch=1, quality_step=1, pad=0, seed=0)
        for name in ("image_size", "crop"):
            if getattr(self, name) is not None:
                check_whole(self, **{name: 1})
        for name in ("early_steps", "stability_steps", "hurdle_steps"):
            _check_rising(name, getattr(self, name))
        for name in ("signal", "flip", "channels_last"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} should be true or false, not {shorten(getattr(self, name))}")
        check_number(self, "lr", above=0.0)
        check_number(self, "stability_rate", above=0.0)
        check_number(self, "stability_limit", above=0.0)
        check_number(self, "weight_decay", least=0.0)
        check_number(self, "momentum", above=0.0, below=1.0)  # Nesterov's method is undefined without momentum
        check_number(self, "quality_floor", least=0.0)
        check_number(self, "hurdle_quantile", least=0.0, below=1.0)
        _check_one_of(self, "schedule", ("constant", "cosine"))
        _check_one_of(self, "device", ("cpu", "cuda"))
        _check_one_of(self, "backend", BACKENDS)
        needed = {"triton": "cuda", "cpp": "cpu"}.get(self.backend, self.device)
        if self.device != needed:
            raise UsageError(f"backend {self.backend} computes on device {needed}, not {self.device}; auto fits both")
        _check_one_of(self, "precision", ("float32", "bfloat16", "float16"))


def check_whole(settings: object, **lowest: int) -> None:
    """Raises UsageError for a field that is no whole number of at least the given value, or beyond 63 bits."""
    for name, low in lowest.items():
        value = getattr(settings, name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise UsageError(f"{name} should be a whole number, not {shorten(value)}")
        if value < low:
            raise UsageError(f"{name} should be at least {low}, not {value}")
        if value >= 1 << 63:
            raise UsageError(f"{name} should be below 2 to the power of 63, not {shorten(value)}")


def check_number(
    settings: object,
    name: str,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Raises UsageError for a field that is no finite number within the bounds; above and below exclude them."""
    value = getattr(settings, name)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if number and least <= value <= most and above < value < below:
        return
    if math.isfinite(least) and math.isfinite(most):
        wanted = f"between {least:g} and {most:g}"
    elif above == 0.0:
        wanted = "positive" if math.isinf(below) else f"positive and below {below:g}"
    else:
        wanted = f"at least {least:g}" if math.isinf(below) else f"at least {least:g} and below {below:g}"
    raise UsageError(f"{name} should be {wanted}, not {shorten(value)}")


def _check_one_of(settings: object, name: str, known: tuple[str, ...]) -> None:
    value: Any = getattr(settings, name)
    if value not in known:
        raise UsageError(f"{name} should be one of {', '.join(known)}, not {shorten(value)}")


def _check_rising(name: str, steps: tuple[int, ...]) -> None:
    whole = all(isinstance(step, int) and not isinstance(step, bool) and step > 0 for step in steps)
    if not whole or list(steps) != sorted(set(steps)):
        raise UsageError(f"{name} should be positive and rise, not {shorten(steps)}")
