"""A user's own training loop, which takes the place of anchors and data: `evonas search --score FILE.py:NAME`.

The function is called on a worker as ``score(layer, seed, report)``:

- `layer` builds the candidate's layers (`evonas.layers.layer_factory.LayerFactory`): ``layer.norm_act(channels)`` is a
  module for a position with normalisation and activation, ``layer.norm(channels)`` one for a normalisation alone, and
  ``evonas.swap(model, layer)`` puts them into an ordinary model;
- `seed` is an integer, from which weights and batches are to follow. PyTorch's generator is seeded with it already;
- ``report(step, value)`` may be called while it trains, with a number that is the higher the better. A candidate that
  is behind earlier ones at one of `hurdle_steps` is stopped there.

It returns a number from 0 up, higher is better, or a mapping with such a ``"score"`` and further numbers, which
objectives can use (`reported`). 0, or a number that is not finite, stands for a training that diverged.

A function that takes one of these by name is given it as well:

- ``steps``: how long to train. It is the setting `steps`, and a multiple of it where good candidates are trained again;
- ``lr``: the setting `lr`, or a multiple of it where fragile layers are to be found;
- ``split``: what to score on: ``"validation"`` in the search; afterwards ``"held-out"``, a part of the training data
  that is then not trained on, and ``"test"``. Without it a run cannot be verified.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from inspect import Parameter, signature
from typing import Any

from evonas.errors import UsageError, shorten
from evonas.settings.evaluation_protocol import OWN_SCORE, EvaluationProtocol
from evonas.settings.objectives import measured_objectives
from evonas.settings.plugins import Registry

OwnScore = Callable[..., "float | Mapping[str, float]"]

REPLACED: Mapping[str, Any] = {
    "anchors": (OWN_SCORE,),
    "data": "none",
    "data_dir": None,
    "signal": False,
    "stability_steps": (),
    "floors": "absolute",
    "early_steps": (),
    "early_floors": (),
    "quality_floor": 0.0,
}
"""The settings of a protocol that a function replaces: the filters need a network that they can look into."""
_BY_NAME = ("steps", "lr", "split")
_OF_A_NETWORK = ("batch-4", "step-time", "saved-bytes")
"""Objectives that are measured on an anchor."""


SCORE_REGISTRY: Registry[OwnScore] = Registry(
    "score",
    {},
    lambda _, found: found if callable(found) and not isinstance(found, type) else None,
    "a function (layer, seed, report)",
)
"""Finds a user's training loop by name."""


def with_own_score(protocol: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a protocol, with those that a function replaces if it names one.

    Args:
        protocol: all settings.
        asked: those of them that the user gave beside the preset.

    Raises:
        UsageError: the user names anchors or data beside a function.
    """
    if not protocol.get("score"):
        return dict(protocol)
    for name in (*REPLACED, "image_size", "crop", "pad", "flip"):
        value = asked.get(name)
        given = tuple(value) if isinstance(value, list) else value
        if given not in (None, REPLACED[name] if name in REPLACED else protocol_default(name)):
            raise UsageError(
                f"{shorten(protocol['score'])} brings its own networks and data: leave out {name}, or score"
            )
    return {**protocol, **REPLACED}


def protocol_default(name: str) -> Any:
    """The value of a setting that a protocol has without being asked."""
    return next(field.default for field in fields(EvaluationProtocol) if field.name == name)


def check_own_score(protocol: EvaluationProtocol) -> None:
    """Check the function that a protocol names, whose file must have been loaded.

    Raises:
        UsageError: there is none of that name, it does not take what it is called with, or an objective is measured on
            an anchor.
    """
    found = SCORE_REGISTRY.find(protocol.score)
    parameters = _parameters(found)
    if parameters is not None:
        try:
            signature(found).bind("layer", 0, print, **dict.fromkeys(_taken(found)))
        except TypeError:
            raise UsageError(
                f"{protocol.score} is called with (layer, seed, report), and by name with those of "
                f"{', '.join(_BY_NAME)} that it takes; it takes {signature(found)}"
            ) from None
    for objective in measured_objectives(protocol.objectives, protocol.anchors, protocol.plugins):
        if objective.name in _OF_A_NETWORK:
            raise UsageError(
                f"the objective {objective.name} is measured on an anchor, and {protocol.score} has none: return such "
                "a number beside the score, and name an objective of yours that uses `reported`"
            )


def takes_rate(score: str) -> bool:
    """Whether the function of this name can be asked to train at another learning rate."""
    return "lr" in _taken(SCORE_REGISTRY.find(score))


def takes_split(protocol: EvaluationProtocol) -> bool:
    """Whether the function that a protocol names can be asked for images that chose nothing."""
    return "split" in _taken(SCORE_REGISTRY.find(protocol.score))


def arguments(score: OwnScore, protocol: EvaluationProtocol, split: str) -> dict[str, Any]:
    """What a function is given by name."""
    offered = {"steps": protocol.steps, "lr": protocol.lr, "split": split}
    return {name: offered[name] for name in _taken(score)}


def _parameters(score: OwnScore) -> Mapping[str, Parameter] | None:
    try:
        return signature(score).parameters
    except (TypeError, ValueError):  # some callables in C have none
        return None


def _taken(score: OwnScore) -> list[str]:
    """Those of the further arguments that a function takes by name."""
    parameters = _parameters(score) or {}
    everything = any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())
    return [name for name in _BY_NAME if everything or name in parameters]
