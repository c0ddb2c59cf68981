"""A plain loop around an ordinary model: `evonas search --score examples/loop.py:score`.

Whatever trains your model can stand here, such as a Lightning `Trainer`: put the layer into the model, train, and
return a number. It reports epochs, so a hurdle after the first is `--set protocol.hurdle_steps=[1]`. Without `split`
layers are compared on one set of images alone, so the run has no verdict at its end.
"""

from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import nn

import evonas
from evonas.layers.layer_factory import LayerFactory


def score(layer: LayerFactory, seed: int, report: Callable[[int, float], None]) -> float:
    """Train on 1,200 digits for a few epochs, and return the accuracy on the others."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    labels = torch.tensor(digits.target)
    first = nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU()
    second = nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32), nn.ReLU()
    model = nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(512, 10))
    evonas.swap(model, layer)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(3):
        for chosen in torch.randperm(1200).split(64):
            loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        report(epoch + 1, -float(loss.detach()))
    with torch.no_grad():
        return float((model.eval()(images[1200:]).argmax(1) == labels[1200:]).float().mean())
