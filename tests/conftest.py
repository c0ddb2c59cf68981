"""Settings that every test shares."""

import pytest
import torch
from hypothesis import HealthCheck, settings

# The same examples in every run, and no deadline: the first call of a torch operation is slow.
settings.register_profile(
    "evonas", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("evonas")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random tensors in every run, whatever ran before."""
    torch.manual_seed(0)
