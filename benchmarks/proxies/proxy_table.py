"""The proxies: short protocols on small networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.setup.assemble import configure

ANCHORS = ("resnet-small", "mobilenet-small", "efficientnet-small", "vgg-small", "densenet-small")
TARGET, FURTHER = "CIFAR-10", "CIFAR-10, further layers"
"""The target over the layers that all proxies were trained with, and over all others of `benchmarks.target`."""
MEDIUM = ("resnet-medium", "mobilenet-medium")
"""Networks of the target that a search can afford on its last rung."""
SEEDS = (0, 1)
LONG_SEEDS = (100, 101)
"""Of the long trainings, which must not share the weights and batches of the short ones that are to predict them."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A short protocol.

    Attributes:
        name: its name in records.
        data: "crops", "photographs", "digits", or "cifar".
        steps: training steps.
        size: height and width of images; None for the data set's own.
        lr: learning rate.
        anchors: networks.
    """

    name: str
    data: str
    steps: int
    size: int | None = None
    lr: float = 0.1
    anchors: tuple[str, ...] = ANCHORS


OF_TARGET = (
    *(Proxy(f"CIFAR-10 {steps}, 16 pixels, lr 0.2", "cifar", steps, 16, lr=0.2) for steps in (100, 400)),
    *(
        Proxy(f"CIFAR-10 {steps}, 16 pixels, medium", "cifar", steps, 16, lr=0.2, anchors=MEDIUM)
        for steps in (100, 400)
    ),
    *(Proxy(f"crops {steps}, medium", "crops", steps, lr=0.2, anchors=MEDIUM) for steps in (100, 400)),
)
"""Proxies that are trained with every layer of the target: of small networks and of deeper ones, on its data and on the
default's."""
PROXIES = (
    *(Proxy(f"crops {steps}", "crops", steps) for steps in (50, 100, 200, 400)),
    *(Proxy(f"crops {steps}, lr 0.2", "crops", steps, lr=0.2) for steps in (50, 100, 200, 400)),
    *(Proxy(f"crops 100, lr {lr:g}", "crops", 100, lr=lr) for lr in (0.05, 0.4)),
    Proxy("crops 100, 12 pixels", "crops", 100, 12),
    *(Proxy(f"photographs {steps}", "photographs", steps) for steps in (100, 400)),
    *(Proxy(f"digits {steps}", "digits", steps) for steps in (100, 200)),
    *(Proxy(f"CIFAR-10 {steps}, 16 pixels", "cifar", steps, 16) for steps in (100, 200, 400)),
    Proxy("CIFAR-10 100, 12 pixels", "cifar", 100, 12),
    *OF_TARGET,
)
LONG = Proxy("crops 1600, lr 0.2", "crops", 1600, lr=0.2)
"""The default's task with four times the steps of its longest training, which proxies should predict too."""
LONGS = (LONG, Proxy("crops 1600", "crops", 1600), Proxy("crops 1600, lr 0.4", "crops", 1600, lr=0.4))
"""The same with other learning rates: half that of the default, which was the default's once, and twice that."""


def protocol_of(proxy: Proxy, data_dir: str, seed: int, anchors: Sequence[str] | None = None) -> EvaluationProtocol:
    """Return the protocol of a proxy, on some of its networks; CIFAR-10 is a folder of images or an archive of one."""
    cifar = proxy.data == "cifar"
    settings = {
        "data": "image-folder" if cifar else proxy.data,
        "data_dir": data_dir if cifar else None,
        "image_size": proxy.size,
        "flip": cifar,
        "anchors": proxy.anchors if anchors is None else tuple(anchors),
        "steps": proxy.steps,
        "lr": proxy.lr,
        "hurdle_steps": (),
    }
    return replace(configure("evonorm", seed_graphs=(), protocol=settings).protocol, seed=seed)
