"""How a candidate is judged and scored on a worker: data, networks, training, filters, objectives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from evonas.errors import UsageError, shorten
from evonas.layers.backend import BACKENDS
from evonas.settings.objectives import ANCHOR_ACCURACIES, check_objectives

OWN_SCORE = "score"
"""What stands in the place of an anchor's name where a user's own training loop scores layers."""


@dataclass(frozen=True)
class EvaluationProtocol:
    """Everything that a worker needs to know, apart from the layer.

    Attributes:
        score: the name of a user's own training loop, which takes the place of anchors and data
            (`evonas.settings.own_score`); empty for none. Then the only anchor is `OWN_SCORE`.
        data: name of the data set; NAME+text for images with text, of which each network reads what it is made for.
        data_dir: the folder or file of the data set, if it has one.
        image_size: height and width in pixels that images are resampled to when they are read; None keeps their size.
            Of text alone, the number of tokens that a network reads of a window.
        pad: zeros added on each side of a training image before it is cropped.
        crop: height and width of a random crop of each training image; None for the image's own size.
            Validation and test images stay whole.
        flip: whether training images are mirrored left to right at random.
        anchors: names of the anchor networks, each optionally followed by ``@`` and a width multiplier; the filters
            use the first.
        steps, batch, lr, weight_decay, schedule: how one anchor is trained: number of steps, images per step, and the
            settings of the optimiser.
        optimizer: "sgd" with Nesterov momentum; "adamw" (Loshchilov and Hutter 2019), as for transformers; or "adamp"
            (Heo et al. 2021), which does not lengthen weights whose length is without effect.
        train: "all" weights, or "affine" for those of layers alone, scale, shift and further leaves, while all others
            stay as they were drawn (Frankle, Schwab and Morcos 2021, "Training BatchNorm and Only BatchNorm").
        momentum: of SGD, or the first beta of the others, whose second is 0.999.
        warmup: steps over which the learning rate rises from 0 to `lr` before the schedule takes over.
        clip: the norm to which the gradient of all weights together is shortened where it is longer; None for no
            limit.
        device: the device on which networks are trained.
        precision: the type in which convolutions and similar operations compute (automatic mixed precision); weights
            and statistics stay in float32.
        channels_last: whether images and weights have the channels-last memory format.
        backend: what computes the searched layers (`evonas.layers.backend`); "auto" uses compiled kernels except for
            computations that run once or need second derivatives.
        signal: whether the signal-propagation filter runs.
        stability_steps: steps of gradient ascent after which the stability filter examines the gradient's norm; empty
            disables the filter.
        stability_rate: step size of the ascent.
        stability_images: images of the batch on which the ascent takes its gradient; None for the whole batch.
        stability_limit: norm of the gradient above which the filter rejects.
        early_steps: steps of the first anchor after which a candidate whose accuracy is still at chance is rejected;
            steps at or after `quality_step` are ignored.
        floors: what `early_floors` and `quality_floor` are: "absolute" accuracies, or "published" for shares of the way
            from chance to what published layers have there (`evonas.judging.floors`).
        early_floors: the training accuracy on the latest batches that a candidate needs at each of `early_steps`, or
            its share.
        quality_step: step of the first anchor at which the quality filter tests validation accuracy.
        quality_floor: the accuracy below which the quality filter rejects, or its share; 0.2 as an accuracy is twice
            chance on ten classes.
        hurdle_steps: steps of every anchor except the first at which a candidate is compared with earlier ones.
        hurdle_ends: the number of anchors, from the first, at whose ends it is compared; the last of all is never one
            of them. None for all others if there are hurdle steps, and otherwise for no end.
        hurdle_quantile: the quantile of earlier candidates' accuracies that a candidate must reach at each comparison;
            at 0 the accuracies are recorded and no candidate is rejected.
        objectives: what candidates are selected by: "anchors" for the accuracy on each anchor, an anchor's
            name for the accuracy on that one, and names of `evonas.settings.objectives.OBJECTIVES`.
        filters: names of the user's own filters (`evonas.settings.plugins`), which run before any training.
        plugins: the run's records of the user's files and packages that names refer to, as JSON.
        seed: the seed of initial weights and batches; the same for all candidates of a run, so that they are compared
            on equal terms.

    Raises:
        UsageError: a setting is out of its range.
    """

    score: str = ""
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
    optimizer: Literal["sgd", "adamw", "adamp"] = "sgd"
    train: Literal["all", "affine"] = "all"
    warmup: int = 0
    clip: float | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = True
    backend: Literal["auto", "reference", "triton", "cpp"] = "auto"
    signal: bool = True
    stability_steps: tuple[int, ...] = (5,)
    stability_rate: float = 1.0
    stability_limit: float = 1e8
    stability_images: int | None = None
    floors: Literal["absolute", "published"] = "absolute"
    early_steps: tuple[int, ...] = (20, 60)
    early_floors: tuple[float, ...] = (0.1, 0.13)
    quality_step: int = 100
    quality_floor: float = 0.2
    hurdle_steps: tuple[int, ...] = (60,)
    hurdle_ends: int | None = None
    hurdle_quantile: float = 0.5
    objectives: tuple[str, ...] = (ANCHOR_ACCURACIES,)
    filters: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.anchors, str):
            raise UsageError(f"anchors must be a tuple of names, not {shorten(self.anchors)}")
        if not self.anchors:
            raise UsageError("anchors is empty; at least one anchor is needed to score a candidate")
        if len(set(self.anchors)) < len(self.anchors):
            raise UsageError(f"an anchor is named twice: {', '.join(self.anchors)}")
        if bool(self.score) is not (self.anchors == (OWN_SCORE,)):
            raise UsageError(
                f"the only anchor of a training loop of your own is {OWN_SCORE!r}, and nothing else is one"
            )
        if len(self.early_steps) != len(self.early_floors):
            raise UsageError("early_steps and early_floors must have the same length")
        check_objectives(self.objectives, self.anchors, self.plugins)
        check_integers(self, steps=1, batch=1, quality_step=1, pad=0, warmup=0, seed=0)
        for name in ("image_size", "crop", "stability_images"):
            if getattr(self, name) is not None:
                check_integers(self, **{name: 1})
        if self.hurdle_ends is not None:
            check_integers(self, hurdle_ends=0)
        for name in ("early_steps", "stability_steps", "hurdle_steps"):
            _check_rising(name, getattr(self, name))
        for name in ("signal", "flip", "channels_last"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} must be true or false, not {shorten(getattr(self, name))}")
        check_number(self, "lr", above=0.0)
        check_number(self, "stability_rate", above=0.0)
        check_number(self, "stability_limit", above=0.0)
        check_number(self, "weight_decay", least=0.0)
        if self.clip is not None:
            check_number(self, "clip", above=0.0)
        _check_one_of(self, "optimizer", ("sgd", "adamw", "adamp"))
        _check_one_of(self, "train", ("all", "affine"))
        check_number(self, "momentum", above=0.0, below=1.0)  # Nesterov's method is undefined without momentum
        check_number(self, "quality_floor", least=0.0)
        check_number(self, "hurdle_quantile", least=0.0, below=1.0)
        _check_one_of(self, "floors", ("absolute", "published"))
        if self.floors == "published":
            _check_shares(early_floors=self.early_floors, quality_floor=(self.quality_floor,))
        _check_one_of(self, "schedule", ("constant", "cosine"))
        _check_one_of(self, "device", ("cpu", "cuda"))
        _check_one_of(self, "backend", BACKENDS)
        needed = {"triton": "cuda", "cpp": "cpu"}.get(self.backend, self.device)
        if self.device != needed:
            raise UsageError(
                f"backend {self.backend} computes on device {needed}, not {self.device}; auto works on both"
            )
        _check_one_of(self, "precision", ("float32", "bfloat16", "float16"))


def check_integers(settings: object, **lowest: int) -> None:
    """Check that fields are integers from the given lowest values to 2**63 - 1; UsageError otherwise."""
    for name, low in lowest.items():
        value = getattr(settings, name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise UsageError(f"{name} must be an integer, not {shorten(value)}")
        if value < low:
            raise UsageError(f"{name} must be at least {low}, not {value}")
        if value >= 1 << 63:
            raise UsageError(f"{name} must be below 2**63, not {shorten(value)}")


def check_number(
    settings: object,
    name: str,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Check that a field is a finite number within bounds; UsageError otherwise.

    Args:
        settings: the object that has the field.
        name: the field.
        least, most: inclusive bounds.
        above, below: exclusive bounds.
    """
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
    raise UsageError(f"{name} must be {wanted}, not {shorten(value)}")


def _check_one_of(settings: object, name: str, known: tuple[str, ...]) -> None:
    value: Any = getattr(settings, name)
    if value not in known:
        raise UsageError(f"{name} must be one of {', '.join(known)}, not {shorten(value)}")


def _check_rising(name: str, steps: tuple[int, ...]) -> None:
    whole = all(isinstance(step, int) and not isinstance(step, bool) and step > 0 for step in steps)
    if not whole or list(steps) != sorted(set(steps)):
        raise UsageError(f"{name} must be positive integers in increasing order, not {shorten(steps)}")


def _check_shares(**shares: tuple[float, ...]) -> None:
    for name, values in shares.items():
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
                raise UsageError(
                    f"with floors = 'published', {name} is a share from 0, chance, to 1, what published layers have; "
                    f"not {shorten(value)}"
                )
