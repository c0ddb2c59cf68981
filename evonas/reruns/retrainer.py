"""Trains a run's layers again, and records each training in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import nan
from typing import Literal

from evonas.evolution.executor import Executor, Task
from evonas.evolution.trainings import Progress, carry_out, training_task
from evonas.records.retraining import Layer, Retraining, RetrainingKey, RetrainingStage
from evonas.records.run_info import RunInfo
from evonas.records.store import Store
from evonas.records.store_retry import retry_while_unavailable
from evonas.reruns.ranking import Ranked, ranked_layer, sample
from evonas.settings.objectives import ANCHOR_ACCURACIES


class Retrainer:
    """Carries out the trainings that the store does not have, and collects those that it has.

    Args:
        store: the store that holds the run.
        run: the run, whose protocol is used except for what the key of a training determines.
        start: makes the executor; it is called only if there is something to train.
        progress: its `tick` is called with the number of trainings left.
    """

    def __init__(
        self, store: Store, run: RunInfo, start: Callable[[], Executor], progress: Progress | None = None
    ) -> None:
        self._store, self._run, self._start, self._progress = store, run, start, progress
        self._executor: Executor | None = None
        self._recorded = {one.key: one for one in store.retrainings(run.id)}

    def missing(self, keys: Sequence[RetrainingKey]) -> list[RetrainingKey]:
        """The trainings that are not recorded, and those that failed, because another attempt may succeed."""
        return [key for key in keys if key not in self._recorded or self._recorded[key].failed]

    def carry_out(self, keys: Sequence[RetrainingKey], more: int = 0) -> None:
        """Carries out the missing trainings; `more` further ones are counted as left."""
        missing = self.missing(keys)
        if not missing:
            return
        if self._executor is None:
            self._executor = self._start()
        tasks = [self._task(index, *key) for index, key in enumerate(missing)]
        attempts = self._run.config.max_attempts
        for evaluation in carry_out(tasks, self._executor, max_attempts=attempts, progress=self._progress, later=more):
            key = missing[evaluation.index]
            score = evaluation.scores.get(key[2], nan)
            one = Retraining(*key, score, evaluation.core_seconds, evaluation.reason)
            retry_while_unavailable(partial(self._store.record_retraining, self._run.id, one))
            self._recorded[key] = one

    def _task(
        self, index: int, layer: Layer, stage: RetrainingStage, anchor: str, seed: int, steps: int, share: float
    ) -> Task:
        settings = replace(
            self._run.config.protocol, anchors=(anchor,), steps=steps, seed=seed, objectives=(ANCHOR_ACCURACIES,)
        )
        graph = layer if isinstance(layer, str) else self._store.candidate(self._run.id, layer).graph.canonical
        split: Literal["validation", "test"] = "validation" if stage is RetrainingStage.HELD_OUT else "test"
        return training_task(graph, index, settings, split=split, held_out=share)

    def ranked(self, layer: Layer, keys: Sequence[RetrainingKey]) -> Ranked:
        """A layer with those of its trainings that have these keys, all of which must be recorded."""
        samples = {}
        for stage in dict.fromkeys(key[1] for key in keys):
            of_stage = [self._recorded[key] for key in keys if key[1] is stage]
            samples[stage] = sample(of_stage, list(dict.fromkeys(one.anchor for one in of_stage)))
        return ranked_layer(self._store, self._run, layer, samples)
