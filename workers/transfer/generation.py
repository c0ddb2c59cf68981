"""Training of the GAN on digits, and the Fréchet distance between its images and test images."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evonas.layers.backend_choice import for_training
from evonas.layers.layer_factory import LayerFactory
from evonas.layers.norm_act import computed_by
from evonas.workers.anchors.layers import Classifier, Conv, LayerBuilder, initialise
from evonas.workers.data.digits import clean_digits
from evonas.workers.data.seeding import seeded_generator
from evonas.workers.transfer.frechet import frechet_distance
from evonas.workers.transfer.gan import CLASSES, NOISE, Discriminator, Generator

_BATCH, _DRAWN = 64, 2000
_LR, _BETAS = 1e-3, (0.0, 0.9)


def generate(layer: LayerBuilder, seed: int, steps: int) -> float | None:
    """Return the Fréchet distance between test digits and the images of a generator with the layer.

    The GAN is trained with the hinge loss (Lim and Ye 2017), with Adam for both networks and one step of each in turn.
    The features are the inputs of the last linear map of a classifier of digits, which is the same for every layer.

    Args:
        layer: builds the layer at every position of the generator.
        seed: seed of the weights, noise and batches.
        steps: number of steps of each network, with 64 images each.

    Returns:
        A distance that is at least 0, lower is better; None if training diverged.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        made, judge = Generator(layer), Discriminator()
        computed_by(made, for_training("auto", "cpu"))
        return _trained_distance(made, judge, seed, steps)


def _trained_distance(made: Generator, judge: Discriminator, seed: int, steps: int) -> float | None:
    train, draws = clean_digits("train"), seeded_generator("generation", seed)
    of_made, of_judge = (torch.optim.Adam(m.parameters(), lr=_LR, betas=_BETAS) for m in (made, judge))
    for _ in range(steps):
        real = train.take(torch.randint(len(train), (_BATCH,), generator=draws))
        fake = _drawn(made, real.labels, draws)
        loss = F.relu(1 - judge(real.images, real.labels)).mean() + F.relu(1 + judge(fake.detach(), real.labels)).mean()
        of_judge.zero_grad()
        loss.backward()
        of_judge.step()
        labels = torch.randint(CLASSES, (_BATCH,), generator=draws)
        wanted = -judge(_drawn(made, labels, draws), labels).mean()
        if not bool((loss + wanted).isfinite()):
            return None
        of_made.zero_grad()
        wanted.backward()
        of_made.step()
    made.eval()
    with torch.no_grad():
        drawn = _drawn(made, torch.arange(_DRAWN) % CLASSES, seeded_generator("drawn"))
    if not bool(drawn.isfinite().all()):
        return None
    return frechet_distance(features(drawn), features(clean_digits("test").images))


def floor() -> float:
    """Return the distance between real training and test digits, a practical lower bound for generators."""
    return frechet_distance(features(clean_digits("train").images), features(clean_digits("test").images))


def _drawn(made: Generator, labels: Tensor, draws: torch.Generator) -> Tensor:
    images: Tensor = made(torch.randn(len(labels), NOISE, generator=draws), labels)
    return images


class _Features(nn.Module):
    """A small classifier of digits, with BN-ReLU whatever the layer on trial."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layer = LayerFactory.published("bn-relu")
        self.body = nn.Sequential(
            Conv(1, width, 3), layer.norm_act(width), Conv(width, width, 3, stride=2), layer.norm_act(width)
        )
        self.classifier = Classifier(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (b, 1, 8, 8) to logits (b, 10)."""
        logits: Tensor = self.classifier(self.body(x))
        return logits


@functools.cache
@torch.enable_grad()
def classifier() -> nn.Module:
    """Train the classifier that provides the features, and return it in evaluation mode. Its test accuracy is 97%."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = _Features()
    initialise(model, seeded_generator("features weights"))
    train, draws = clean_digits("train"), seeded_generator("features")
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(300):
        batch = train.take(torch.randint(len(train), (_BATCH,), generator=draws))
        optimizer.zero_grad()
        F.cross_entropy(model(batch.images), batch.labels).backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def features(images: Tensor) -> Tensor:
    """Return the features of images (n, 1, 8, 8): the inputs (n, 32) of the classifier's last map."""
    seen: Tensor = classifier().get_submodule("body")(images)
    return seen.mean((2, 3))
