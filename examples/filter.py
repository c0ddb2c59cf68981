"""A filter of your own: `evonas search --filter examples/filter.py:Bounded`.

A filter has a `name`, under which its results are recorded, and a method `judge`, which returns Accept or Reject for a
`Trial`: the layer, the protocol, the data, and the training of the first anchor. It runs after the filters for signal
propagation and stability, and before any training.
"""

import torch

from evonas.settings.candidate import Accept, Reject
from evonas.workers.trial.trial import Trial


class Bounded:
    """Rejects layers whose output has far outliers, which make 8-bit inference inaccurate."""

    name = "bounded"

    def judge(self, trial: Trial) -> Accept | Reject:
        """Pass one batch of noise through the layer alone."""
        layer = trial.layer.norm_act(16)
        with torch.no_grad():
            y = layer(torch.randn(16, 16, 8, 8, generator=torch.Generator().manual_seed(0)))
        peak = float(y.abs().max() / y.std())
        return Accept(peak) if peak < 20.0 else Reject("far outliers", peak)
