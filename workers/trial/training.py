"""Training of one anchor with one layer, reproducibly and in stages."""

from __future__ import annotations

import contextlib
import math
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from evonas.errors import UsageError
from evonas.layers.backend_choice import for_training
from evonas.layers.modules.channel_layer import ChannelLayer
from evonas.layers.modules.rep_bn import PRepBN
from evonas.layers.norm_act import NormAct, computed_by
from evonas.workers.anchors import LayerBuilder, anchor_named, build_anchor
from evonas.workers.anchors.goals import goal_of
from evonas.workers.data.dataset import DataSet
from evonas.workers.trial.adamp import AdamP

if TYPE_CHECKING:
    from evonas.settings.evaluation_protocol import EvaluationProtocol

_EVALUATION_BATCH = {"cpu": 200, "cuda": 1000}
"""Images per evaluation batch: enough to make calls cheap, few enough for a CPU's cache."""
_LOSS_CHECK_STEPS = {"cpu": 1, "cuda": 16}
"""Steps between checks of the loss. Each check waits for the GPU."""
LATEST_BATCHES = 10
"""Training batches over which `Training.train_accuracy` takes the mean."""
_WARM_UP = 3
"""Initial steps that are slower because of allocations and the choice of algorithms."""
_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Training:
    """The training of one model, which advances in stages so that a filter can stop it early.

    The weights, the batches and their augmentation follow from the protocol's seed. With one thread on a CPU, the
    same arguments give the same bits, whatever the stages. PyTorch's global random state is preserved.

    Args:
        anchor: name of the network.
        layer: builds the layer at each position of the network.
        data: the data set to train on, or one with a part of the kind that the network reads.
        protocol: how to train, and on which device.
        micro_batch: images that go through the network at a time; the gradient of a step is then the mean over
            the micro-batches of its batch, as in data-parallel training. None for whole batches.

    Attributes:
        model: the anchor with the layer in it, in training mode.
        goal: what it is trained for.
        data: what it is trained on.
        step: number of training steps done.
        losses: the loss of each step: that of the goal, such as cross-entropy in nats, or of a network which has a
            `loss` of its own.
        diverged: whether a loss was infinite or NaN; training has then ended.

    Raises:
        UsageError: The anchor is unknown, there is nothing that it reads, or crops do not fit into the images.
    """

    def __init__(
        self,
        anchor: str,
        layer: LayerBuilder,
        data: DataSet,
        protocol: EvaluationProtocol,
        micro_batch: int | None = None,
    ) -> None:
        self.protocol, self.device = protocol, torch.device(protocol.device)
        self.data = data = data.read_by(anchor_named(anchor).reads)
        self._micro_batch = micro_batch or protocol.batch
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, because fork_rng restores only the state of the CPU here.
            torch.default_generator.manual_seed(protocol.seed)
            model = build_anchor(anchor, layer, in_channels=data.channels, classes=data.classes)
        self._format = torch.channels_last if protocol.channels_last else torch.contiguous_format
        self.model: nn.Module = model.to(self.device)
        self.goal = goal_of(model)
        computed_by(self.model, for_training(protocol.backend, self.device.type))
        if protocol.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # for weights of rank 4
        self.step = 0
        self.losses: list[float] = []
        self.diverged = False
        changes = (protocol.pad, protocol.crop, protocol.flip) if data.kind == "images" else (0, None, False)
        self._batches = data.batches(protocol.seed, protocol.batch, *changes, self.device)
        self._measured: list[Tensor] = []  # the mean of what the goal measures, of each step
        self._unchecked: list[Tensor] = []  # losses of the latest steps, still on the device
        self._clock = _Clock(self.device)
        self._optimizer = optimizer_of(protocol, self.model)
        # In float16, gradients below 6e-8 become zero; scaling prevents this.
        self._scaler = torch.amp.GradScaler(self.device.type) if protocol.precision == "float16" else None

    @property
    def step_seconds(self) -> float | None:
        """Median wall-clock seconds per step, after the warm-up if there are such steps; None before the first step."""
        seconds = self._clock.seconds()
        return median(seconds[_WARM_UP:] or seconds) if seconds else None

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the images, (batch, c, h, w), and labels, int64 (batch,), of a step, on the model's device."""
        images, labels = self._batches[step]
        return images.contiguous(memory_format=self._format), labels

    def advance(self, to_step: int) -> bool:
        """Train until ``to_step`` steps are done, counted from the start.

        Returns:
            False as soon as a loss is found that is not finite, and at every later call, without further
            training. On a GPU it is found some steps late; `step` and `losses` still end with it, as on a CPU.
        """
        check_steps = _LOSS_CHECK_STEPS[self.device.type]
        while self.step < to_step and not self.diverged:
            self._clock.start()
            images, labels = self.batch(self.step)
            for group in self._optimizer.param_groups:
                group["lr"] = lr_at(self.protocol, self.step)
            self._optimizer.zero_grad()
            loss, measured = self._gradients(images, labels)
            self._unchecked.append(loss)
            if (len(self._unchecked) == check_steps or self.step + 1 == to_step) and not self._losses_are_finite():
                break
            if self.protocol.clip is not None:
                if self._scaler is not None:
                    self._scaler.unscale_(self._optimizer)
                nn.utils.clip_grad_norm_(trained_parameters(self.protocol, self.model), self.protocol.clip)
            if self._scaler is None:
                self._optimizer.step()
            else:
                self._scaler.step(self._optimizer)
                self._scaler.update()
            self._measured.append(measured)
            self._clock.stop()
            self.step += 1
        return not self.diverged

    def _gradients(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Add the gradients of a batch; return its loss and the mean that the goal measures, scalars on the device."""
        losses, measured = [], []
        for seen, wanted in zip(images.split(self._micro_batch), labels.split(self._micro_batch), strict=True):
            with self._autocast():
                output = self.model(seen)
                loss = self._loss(output, wanted) * (len(wanted) / len(labels))
            (loss if self._scaler is None else self._scaler.scale(loss)).backward()
            losses.append(loss.detach())
            with torch.no_grad():
                measured.append(self.goal.measured(output, wanted).sum())
        return torch.stack(losses).sum(), torch.stack(measured).sum() / len(labels)

    def _loss(self, output: Any, labels: Tensor) -> Tensor:
        """The loss of the goal, or what a user's network has as `loss(output, labels)`."""
        own = getattr(self.model, "loss", None)
        return self.goal.loss(output, labels) if own is None else own(output, labels)

    def train_accuracy(self, last: int = LATEST_BATCHES) -> float:
        """Return the accuracy on the last training batches, each before its step. It costs nothing but is noisy.

        Returns:
            A fraction, which is 0 before the first step; the score of a goal that is not to tell classes apart.
        """
        recent = self._measured[-last:]
        return self.goal.score(torch.stack(recent).mean().item()) if recent else 0.0

    @torch.no_grad()
    def accuracy(self, split: Literal["validation", "test"], limit: int | None = None) -> float:
        """Return the fraction of a split's images that are classified correctly in evaluation mode.

        A sample with a logit that is not finite counts as wrong. Of a network with another goal it is its score.

        Args:
            split: the split to evaluate on.
            limit: use only the first so many images; the classes stay balanced.
        """
        samples = (self.data.validation if split == "validation" else self.data.test).first(limit)
        self.model.eval()
        measured = torch.zeros((), dtype=torch.float64, device=self.device)
        at_once = _EVALUATION_BATCH[self.device.type]
        for start in range(0, len(samples), at_once):
            rows = slice(start, start + at_once)
            images = self.data.standardised(samples.images[rows].to(self.device))
            with self._autocast():
                output = self.model(images.contiguous(memory_format=self._format))
            measured += self.goal.measured(output, samples.labels[rows].to(self.device)).sum()
        self.model.train()
        return self.goal.score(measured.item() / len(samples))

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.protocol.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, _TYPES[self.protocol.precision])

    def _losses_are_finite(self) -> bool:
        """Check the losses since the last check. This waits for the device."""
        first = self.step + 1 - len(self._unchecked)
        losses = torch.stack(self._unchecked).tolist()
        self._unchecked.clear()
        for number, loss in enumerate(losses):
            self.losses.append(loss)
            if not math.isfinite(loss):
                self.diverged, self.step = True, first + number
                del self._measured[self.step :]
                return False
        return True


def optimizer_of(protocol: EvaluationProtocol, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser of a protocol: SGD with Nesterov momentum, AdamW or AdamP.

    The latter two do not shrink vectors, such as biases and the parameters of layers, as is usual for transformers.
    PyTorch's own serve all parameters by one call (`fused`), because calls are a tenth of a small model's step.
    """
    parameters = trained_parameters(protocol, model)
    if protocol.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=protocol.lr,
            momentum=protocol.momentum,
            weight_decay=protocol.weight_decay,
            nesterov=True,
            fused=True,
        )
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": protocol.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    if protocol.optimizer == "adamp":
        return AdamP(groups, lr=protocol.lr, betas=(protocol.momentum, 0.999))
    return torch.optim.AdamW(groups, lr=protocol.lr, betas=(protocol.momentum, 0.999), fused=True)


_NORMS = (
    *(NormAct, ChannelLayer, PRepBN),
    *(nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm),
)
"""The layers whose parameters are trained where only layers are."""


def trained_parameters(protocol: EvaluationProtocol, model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that a protocol trains: all, or those of layers alone."""
    if protocol.train == "all":
        return list(model.parameters())
    found = [p for module in model.modules() if isinstance(module, _NORMS) for p in module.parameters(recurse=False)]
    if not found:
        raise UsageError("train = affine trains the parameters of layers, and this network has no layer with any")
    return list(dict.fromkeys(found))


def lr_at(protocol: EvaluationProtocol, step: int) -> float:
    """Return the learning rate of a step, counted from 0: constant, or on a half cosine from ``lr`` to 0.

    During the warm-up it is that times the share of the warm-up that the step completes. The cosine halves the spread
    over seeds of a short training's accuracy, because the weights change little in the last steps.
    """
    lr = protocol.lr * min(1.0, (step + 1) / protocol.warmup) if protocol.warmup else protocol.lr
    if protocol.schedule == "constant":
        return lr
    return lr * 0.5 * (1 + math.cos(math.pi * min(step, protocol.steps) / protocol.steps))


def check_device(device: str) -> None:
    """Raise UsageError if this machine does not have the device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("the device is cuda, but PyTorch sees no GPU here: use device cpu, or see `evonas doctor`")


class _Clock:
    """Times the steps of a training, without waiting for the device at each of them."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._open: float | torch.cuda.Event = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._seconds: list[float] = []

    def start(self) -> None:
        """Note the start of a step."""
        self._open = self._now()

    def stop(self) -> None:
        """Note the end of a step. A step that starts again without it is not counted."""
        now = self._now()
        if isinstance(now, float) and isinstance(self._open, float):
            self._seconds.append(now - self._open)
        elif isinstance(now, torch.cuda.Event) and isinstance(self._open, torch.cuda.Event):
            self._events.append((self._open, now))

    def seconds(self) -> list[float]:
        """Return the seconds of each step so far. This waits for a GPU to finish them."""
        if self._events:
            torch.cuda.synchronize(self._device)
            # Between two events in the GPU's queue, in milliseconds.
            self._seconds += [start.elapsed_time(end) / 1000 for start, end in self._events]
            self._events.clear()
        return self._seconds

    def _now(self) -> float | torch.cuda.Event:
        if self._device.type == "cpu":
            return perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event
