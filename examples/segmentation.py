"""A training loop of your own: `evonas search --score examples/segmentation.py:score --steps 60`.

It trains a small network to find discs among rings, by its own loss, data and optimizer, and scores layers by the
intersection over union. The milliseconds of a step come with it as an objective:
`--objective anchors --objective examples/segmentation.py:step_time`. `evonas.settings.own_score` says what a loop is
called with and what it returns.
"""

from collections.abc import Callable
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evonas.layers.layer_factory import LayerFactory
from evonas.settings.objectives import Objective, reported

_SEEDS = {"train": 1, "validation": 2, "held-out": 3, "test": 4}

step_time = Objective(
    name="step_time",
    unit="ms",
    higher_is_better=False,
    meaning="Wall time of a training step.",
    reproducible=False,
    measure=reported("step_time"),
)


def _images(number: int, split: str) -> tuple[Tensor, Tensor]:
    """Noisy images (n, 1, 24, 24) with a disc and a ring each, and the pixels of the discs as 0 and 1."""
    rng = torch.Generator().manual_seed(_SEEDS[split])
    centres = 4 + 16 * torch.rand(2, number, 2, 1, 1, generator=rng)
    radii = 2.5 + 2 * torch.rand(2, number, 1, 1, generator=rng)
    at = torch.stack(torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij"))
    disc, ring = (at - centres).square().sum(2).sqrt() - radii
    shown = (disc < 0).float() + (ring.abs() < 0.7).float() + 0.5 * torch.randn(number, 24, 24, generator=rng)
    return shown[:, None], (disc < 0).float()[:, None]


def _network(layer: LayerFactory) -> nn.Module:
    parts: list[nn.Module] = []
    for inner, outer, stride in ((1, 16, 1), (16, 32, 2), (32, 32, 1), (32, 16, 1)):
        parts += [nn.Conv2d(inner, outer, 3, stride, 1, bias=False), layer.norm_act(outer)]
    return nn.Sequential(*parts, nn.Conv2d(16, 1, 1), nn.Upsample(scale_factor=2, mode="bilinear"))


def score(
    layer: LayerFactory, seed: int, report: Callable[[int, float], None], *, steps: int = 60, split: str = "validation"
) -> dict[str, float]:
    """Train for some steps, and return the intersection over union on 256 images."""
    network, rng = _network(layer), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    images, masks = _images(1024, "train")
    begun = perf_counter()
    for step in range(steps):
        chosen = torch.randint(len(images), (32,), generator=rng)
        loss = F.binary_cross_entropy_with_logits(network(images[chosen]), masks[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report(step + 1, float(torch.exp(-loss.detach())))
    milliseconds = 1000 * (perf_counter() - begun) / steps
    network.eval()
    images, masks = _images(256, split)
    with torch.no_grad():
        found = network(images) > 0
    both = (found & (masks > 0)).sum()
    return {"score": float(both / (found | (masks > 0)).sum()), "step_time": milliseconds}
