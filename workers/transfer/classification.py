"""Classification of digits by a network that no search trains on."""

from __future__ import annotations

from dataclasses import replace

from evonas.layers.layer_factory import LayerFactory
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.workers.trial.evaluate import load_data
from evonas.workers.trial.training import Training

ANCHOR = "vgg-small"


def classify(layer: LayerFactory, seed: int, steps: int) -> float | None:
    """Return the test accuracy of a plain VGG-like network on augmented digits, trained like the anchors of a search.

    Args:
        layer: builds the layer at every position.
        seed: seed of the weights and batches.
        steps: number of training steps.

    Returns:
        A fraction between 0 and 1; None if training diverged.
    """
    protocol = replace(EvaluationProtocol(), anchors=(ANCHOR,), objectives=("anchors",), steps=steps, seed=seed)
    training = Training(ANCHOR, layer, load_data(protocol), protocol)
    return training.accuracy("test") if training.advance(steps) else None
