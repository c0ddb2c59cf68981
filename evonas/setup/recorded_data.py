"""The data of a run: a digest that is recorded with it, so that it does not go on with other images unnoticed."""

from __future__ import annotations

from evonas.errors import UsageError
from evonas.records.run_info import RunInfo
from evonas.settings.evaluation_protocol import EvaluationProtocol

DATA = "data"
"""Under which name a run records the digest, beside the versions of its environment."""


def digest_of_data(protocol: EvaluationProtocol) -> str | None:
    """The digest of data from files or from a user's function, or of text, which differs between versions of Python.

    None for images that come with evonas, or with a training loop of the user's.

    Raises:
        UsageError: if the data set is unknown, or cannot be read.
    """
    from evonas.workers.data.data_sets import FROM_EVONAS
    from evonas.workers.trial.evaluate import load_data

    if protocol.score or protocol.data in FROM_EVONAS:
        return None
    return load_data(protocol).digest


def check_same_data(run: RunInfo, other_data: bool = False) -> None:
    """Check that a run is about to go on with the images that it began with. Old runs did not record which.

    Args:
        run: the run.
        other_data: whether other images are wanted.

    Raises:
        UsageError: the images are others, or cannot be read.
    """
    recorded = run.environment.get(DATA)
    if recorded is None or other_data:
        return
    now = digest_of_data(run.config.protocol)
    if now != recorded:
        where = run.config.protocol.data_dir or run.config.protocol.data
        raise UsageError(
            f"run {run.id} began with other images than {where} has now (digest {recorded}, now {now}): put them back, "
            "or go on with these by --other-data"
        )
