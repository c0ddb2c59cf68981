"""The trial of a candidate: its networks, their training, the filters that need them, and its scores."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evonas.workers.trial.trial import Trial as Trial


def __getattr__(name: str) -> Any:
    # This was a module with `Trial`, which users' filters and objectives import from here.
    if name == "Trial":
        from evonas.workers.trial.trial import Trial

        return Trial
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
