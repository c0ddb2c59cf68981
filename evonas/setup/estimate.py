"""What a search will take, from a few steps of training that are timed before it starts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from time import process_time

from evonas.settings.run_config import RunConfig
from evonas.setup.assemble import seen_size

_STEPS = 3
"""Steps that are timed on each anchor; the first, which also prepares the network, is left out."""
_SLOW = 1.0
"""Seconds of a step from which on the first one is enough."""
_LONG = 5.0
"""Seconds of a training on one anchor from which on a search says how to shorten it."""
_LARGE = 24
"""Pixels of a side from which on smaller images are proposed."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long trainings take, without kernels for the layer, which are a little faster.

    Attributes:
        seconds: of a whole training, by anchor, on one core.
        pixels: the shorter side of the images; 0 of text.
        targets: seconds of a training on the last rung, by network of the run's target.
    """

    seconds: dict[str, float]
    pixels: int
    targets: dict[str, float] = field(default_factory=dict)

    @property
    def candidate(self) -> float:
        """Seconds of a candidate that is trained on all anchors."""
        return sum(self.seconds.values())


def estimate(config: RunConfig) -> Estimate | None:
    """Time a few steps on each anchor of a run, in this process and with a published layer.

    None where that would say nothing of the workers, which train on another device, or by a loop of the user's own.

    Raises:
        UsageError: an anchor or the data set is unknown, or cannot be used.
    """
    import torch

    from evonas.layers.layer_factory import LayerFactory
    from evonas.workers.trial.evaluate import load_data
    from evonas.workers.trial.training import Training

    protocol = config.protocol
    if protocol.score or protocol.device != "cpu":
        return None
    data, layer = load_data(protocol), LayerFactory.published(config.references[0])
    steps = dict.fromkeys(config.target_anchors, max((1, *config.rungs)) * protocol.steps)
    seconds = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as on a worker
    try:
        for anchor in dict.fromkeys((*protocol.anchors, *config.target_anchors)):
            training = Training(anchor, layer, data, replace(protocol, backend="reference"))
            begun = process_time()
            training.advance(1)
            if (first := process_time() - begun) < _SLOW:  # else it is not worth a second step
                begun = process_time()
                training.advance(_STEPS)
                first = (process_time() - begun) / (_STEPS - 1)
            seconds[anchor] = first
    finally:
        torch.set_num_threads(threads)
    return Estimate(
        {anchor: protocol.steps * seconds[anchor] for anchor in protocol.anchors},
        min(seen_size(data, protocol)) if data.kind == "images" else 0,
        {anchor: number * seconds[anchor] for anchor, number in steps.items()},
    )


def note_on_time(config: RunConfig) -> str:
    """A sentence on what trainings take, and how to shorten them if they are long; empty if nothing is known.

    Raises:
        UsageError: as `estimate`.
    """
    found = estimate(config)
    if found is None:
        return ""
    slowest = max(found.seconds, key=lambda anchor: found.seconds[anchor])
    protocol = config.protocol
    text = (
        f"A training of {protocol.steps} steps takes a core about {_words(found.seconds[slowest])} on {slowest}, and "
        f"{_words(found.candidate)} on all networks"
    )
    if found.targets:
        text += f"; one of the last rung, on {' and '.join(found.targets)}, about {_words(sum(found.targets.values()))}"
        allowed = config.deadline * max((1, *config.rungs))
        if sum(found.targets.values()) > allowed:
            needed = round(2 * config.deadline * sum(found.targets.values()) / allowed)
            text += f", which is longer than the {_words(allowed)} that it may take (--set deadline={needed})"
    whole = config.budget * found.candidate / 60
    if config.core_minutes is not None and config.core_minutes < whole:
        trained = int(60 * config.core_minutes / found.candidate)
        number = f"{trained:,} such candidates at most" if trained else "not even one such candidate"
        text += f"; {config.core_minutes:g} core-minutes are enough for {number}."
    else:
        text += f"; all {config.budget:,} candidates take {whole:,.0f} core-minutes at most, without longer trainings."
    if found.seconds[slowest] < _LONG:
        return text
    shorter = [f"--steps {max(20, protocol.steps // 4)}"]
    if found.pixels >= _LARGE:
        shorter.insert(0, f"--set protocol.image_size={max(16, found.pixels // 4)}")
    return f"{text} {' or '.join(shorter)} makes that shorter."


def _words(seconds: float) -> str:
    if seconds >= 120:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
