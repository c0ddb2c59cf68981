"""A filter of your own: `evonas search --filter examples/filter.py:Bounded`.

A filter has a `name`, which records show, and answers for a `Trial` (the layer, the protocol, the data, and the
training of the first anchor) with Accept or Reject. It comes after signal propagation and stability, and before any
training.
"""

import torch

from evonas.settings.candidate import Accept, Reject
from evonas.workers.trial.trial import Trial


class Bounded:
    """Turns away layers whose output has a value far from all others, as 8-bit inference does not like them."""

    name = "bounded"

    def judge(self, trial: Trial) -> Accept | Reject:
        """One batch of noise through the layer alone."""
        layer = trial.layer.norm_act(16)
        with torch.no_grad():
            y = layer(torch.randn(16, 16, 8, 8, generator=torch.Generator().manual_seed(0)))
        peak = float(y.abs().max() / y.std())
        return Accept(peak) if peak < 20.0 else Reject("far outliers", peak)
