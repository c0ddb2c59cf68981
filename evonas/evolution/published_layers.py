"""The published layers that a run trains beside its candidates: for comparison, and to set its floors.

A run whose floors follow from published layers measures them before it draws its first candidate. What they have is
recorded, so that every session of the run has the same floors. A layer that is also scored for comparison is trained
once for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from evonas.errors import EvonasError, StorageError
from evonas.evolution.executor import Task, published_task
from evonas.judging.floors import TurnedAway, run_floors, turned_away

if TYPE_CHECKING:
    from evonas.records.run_info import RunInfo
    from evonas.settings.candidate import Evaluation


class PublishedLayers:
    """The published layers of one session of a run, and the floors that follow from them.

    Args:
        run: the run, with what is recorded of published layers.
        references: the layers to score for comparison, unless their scores are recorded.
        drawn: the number of candidates that the run has drawn. Once there is one, the floors are as they are: a floor
            layer that failed before is never measured again.

    Attributes:
        names: the layers to train in this session, by index of their task, from -1 down.

    Raises:
        StorageError: candidates were drawn, and the measurements that their floors follow from are not recorded.
    """

    def __init__(self, run: RunInfo, references: Sequence[str], drawn: int) -> None:
        self._protocol, self._values = run.config.protocol, dict(run.checkpoints)
        self._by_share, self._final = run.config.protocol.floors == "published", drawn > 0
        self._floor_layers = run.config.floor_layers
        needed = self._floor_layers if self._by_share and not self._final else ()
        awaited = [name for name in needed if name not in self._values]
        self._scored = [name for name in dict.fromkeys(references) if name not in run.references]
        # Candidates wait for the floor layers, so these come first, and of them those that take longest.
        order = sorted(awaited, key=lambda name: name not in self._scored)
        order += [name for name in self._scored if name not in awaited]
        self.names = {-number: name for number, name in enumerate(order, 1)}
        self._awaited, self._told = set(awaited), set[str]()
        self._floors = None if self._awaited else run_floors(self._protocol, self._values, self._floor_layers)
        if self._floors is None and not self._awaited:
            raise StorageError(
                f"run {run.id} has candidates, but no record of the published layers that its floors follow from, "
                f"so it cannot be continued; start a new run"
            )

    @property
    def ready(self) -> bool:
        """Whether the floors are known, so that candidates may be drawn."""
        return self._floors is not None

    @property
    def floors(self) -> Mapping[str, float]:
        """The floors that go with each candidate's task, by name of the filter: none if the protocol has them."""
        return self._floors or {} if self._by_share else {}

    def tasks(self) -> Sequence[Task]:
        """The tasks of this session, in the order in which to submit them."""
        return [self._task(index, name) for index, name in self.names.items()]

    def add(self, name: str, evaluation: Evaluation) -> None:
        """Add the result of a layer, after the last attempt at it if it failed.

        Raises:
            EvonasError: it was the last that the floors waited for, and all of them failed.
        """
        self._awaited.discard(name)
        if evaluation.checkpoints:
            self._values[name] = evaluation.checkpoints
        if self._floors is None and not self._awaited:
            self._floors = run_floors(self._protocol, self._values, self._floor_layers)
            if self._floors is None:
                raise EvonasError(
                    f"none of the published layers from which the floors follow ({', '.join(self._floor_layers)}) "
                    f"could be trained, so no candidate could be either: {evaluation.reason or 'no reason is known'}"
                )

    def news(self) -> Sequence[TurnedAway]:
        """The layers that a filter of the run would turn away and that no earlier call has returned."""
        if self._floors is None:
            return []
        fresh = [name for name in self._values if name not in self._told]
        self._told.update(fresh)
        found = (turned_away(name, self._values[name], self._protocol, self._floors) for name in fresh)
        return [one for one in found if one is not None]

    def _task(self, index: int, name: str) -> Task:
        task = published_task(name, index, 1, self._protocol)
        if name not in self._scored:
            return replace(task, measures="filters")
        # A layer that failed when the floors were set would change them if it were recorded now.
        too_late = self._by_share and self._final and name in self._floor_layers
        return task if name in self._values or too_late else replace(task, measures="both")
