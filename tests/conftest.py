"""Settings that every test shares, and the database server that some do."""

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, settings

# The same examples in every run, and no deadline: the first call of a torch operation is slow.
settings.register_profile(
    "evonas", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("evonas")
torch.set_num_threads(1)

# Without a GPU, kernels run in Triton's interpreter; it has to know before the first is made.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random tensors in every run, whatever ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL database for tests; what it holds is the last test's."""
    from tests.postgres import database

    with database() as url:
        yield url
