"""Training the best layers of a run again, to find out which are good and which were lucky.

Each training is recorded as it ends, so that a call that was interrupted goes on where it stopped, and one
that was made before only reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Unpack

from evonas.errors import UsageError, shorten, unknown
from evonas.evolution.executor import Executor
from evonas.evolution.trainings import Progress
from evonas.front.api import DEFAULT_STORAGE
from evonas.front.assemble import check_protocol, latest_run, open_storage
from evonas.front.make_executor import Workers, check_executor, make_executor
from evonas.language.zoo import zoo
from evonas.records.retraining import Layer, RetrainingKey, RetrainingStage
from evonas.records.run_info import RunInfo
from evonas.records.store import Store
from evonas.reruns.ranking import Ranking, by_mean
from evonas.reruns.retrainer import Retrainer
from evonas.settings.plugins import load_named_files

REFERENCES = ("bn-relu", "bn-swish", "gn-relu", "evonorm-b0", "evonorm-s0")
"""Published layers that are trained beside those of the run."""
TRANSFER = "vgg-small"
"""An anchor that searches do not use."""


def rerank(
    run_id: int | None = None,
    *,
    storage: str | Path | Store = DEFAULT_STORAGE,
    top: int = 10,
    references: Sequence[str] = REFERENCES,
    seeds: int = 5,
    first_seed: int = 1000,
    steps: int | None = None,
    held_out: float = 0.2,
    report: int = 3,
    transfer: str | None = TRANSFER,
    executor: str | Executor = "ray",
    progress: Progress | None = None,
    **workers: Unpack[Workers],
) -> Ranking:
    """Trains the best layers of a run again, longer and with fresh seeds, and scores the best of those on test.

    Layers are ranked by their mean accuracy on a part of the training split that they were not trained on.
    Then the reported layers and the references alone are trained on the whole training split, with other
    seeds, and scored on the test split, on the run's anchors and on one that it never saw. What was scored
    on the test split is never measured again: the steps and seeds of a run's first such trainings stay.

    Args:
        run_id: the run, finished or not; the latest of the store when None.
        storage: path or URL of a database, or a store.
        top: layers to train again, the best by mean score.
        references: published layers to train beside them.
        seeds: trainings of each layer on each anchor.
        first_seed: the first; the others follow, then those of the test split. The run's own is left out.
        steps: of each training; twice the run's when None.
        held_out: share of the training split to score on.
        report: how many of the best to report.
        transfer: the anchor that the search never saw; None for none.
        executor: as in `search`.
        progress: told how many trainings are left, at most.
        workers: `workers`, `ray_address`, `gpus_per_worker`, `cpus_per_worker`, `recycle_after`, as in `search`.

    Raises:
        UsageError: for a run that is not there or has no scored layer, or a setting that makes no sense.
    """
    with ExitStack() as stack:
        if isinstance(executor, Executor):
            stack.enter_context(executor)
        else:
            check_executor(executor, **workers)
        store = open_storage(storage, create=False)
        if not isinstance(storage, Store):
            stack.enter_context(store)
        run = latest_run(store) if run_id is None else store.run(run_id)
        if transfer is not None:
            load_named_files([transfer])
        plan = _plan(store, run, top, references, seeds, first_seed, steps, held_out, report, transfer)

        def start() -> Executor:
            if isinstance(executor, Executor):
                return executor
            longer = max(1.0, max(plan.steps, plan.test_steps) / run.config.protocol.steps)
            deadline = longer * run.config.deadline
            _check_share(plan, run)
            made = make_executor(executor, run.config.protocol, deadline=deadline, **workers)
            return stack.enter_context(made)

        trainer = Retrainer(store, run, start, progress)
        everything: list[Layer] = [*plan.layers, *plan.references]
        # Which layers will be reported is not known yet: at most, none of them has been tested.
        later = plan.report * len(plan.tested(plan.layers[:1])) + len(trainer.missing(plan.tested(plan.references)))
        trainer.carry_out(plan.trained(everything), more=later)
        ranked = by_mean(trainer.ranked(layer, plan.trained([layer])) for layer in plan.layers)
        # A layer whose trainings failed is no find, however few there are.
        worthy = [one for one in ranked if one.samples[RetrainingStage.HELD_OUT].by_seed][: plan.report]
        reported = [int(one.id.rpartition("/")[2]) for one in worthy]
        trainer.carry_out(plan.tested([*reported, *plan.references]))
        return Ranking(
            run.id,
            run.config.protocol.anchors,
            plan.transfer,
            plan.held_out,
            plan.steps,
            plan.seeds,
            plan.test_steps,
            plan.test_seeds,
            [trainer.ranked(index, plan.all_of(index)) for index in reported] + ranked[len(reported) :],
            len(reported),
            by_mean(trainer.ranked(name, plan.all_of(name)) for name in plan.references),
        )


@dataclass(frozen=True)
class _Plan:
    """What is to be trained, checked; fields as the arguments of `rerank`."""

    anchors: Sequence[str]
    layers: Sequence[int]
    references: Sequence[str]
    steps: int
    seeds: Sequence[int]
    held_out: float
    report: int
    transfer: str | None
    test_steps: int
    test_seeds: Sequence[int]

    def trained(self, layers: Sequence[Layer]) -> list[RetrainingKey]:
        """The trainings that layers are ranked by."""
        return _keys(layers, RetrainingStage.HELD_OUT, self.anchors, self.seeds, self.steps, self.held_out)

    def tested(self, layers: Sequence[Layer]) -> list[RetrainingKey]:
        """The trainings that are scored on the test split."""
        keys = _keys(layers, RetrainingStage.TEST, self.anchors, self.test_seeds, self.test_steps)
        if self.transfer is None:
            return keys
        return keys + _keys(layers, RetrainingStage.TRANSFER, [self.transfer], self.test_seeds, self.test_steps)

    def all_of(self, layer: Layer) -> list[RetrainingKey]:
        """All trainings of a layer that is reported, or a reference."""
        return self.trained([layer]) + self.tested([layer])


def _keys(
    layers: Sequence[Layer],
    stage: RetrainingStage,
    anchors: Sequence[str],
    seeds: Sequence[int],
    steps: int,
    share: float = 0.0,
) -> list[RetrainingKey]:
    # Seed by seed: the batches of a seed are made once, and what is there after a while is of all layers.
    return [(layer, stage, anchor, seed, steps, share) for seed in seeds for layer in layers for anchor in anchors]


def _plan(
    store: Store,
    run: RunInfo,
    top: int,
    references: Sequence[str],
    seeds: int,
    first_seed: int,
    steps: int | None,
    held_out: float,
    report: int,
    transfer: str | None,
) -> _Plan:
    protocol = run.config.protocol
    for name, value in (("top", top), ("seeds", seeds), ("report", report)):
        if value < 1:
            raise UsageError(f"{name} should be at least 1, not {shorten(value)}")
    if not 0 < held_out < 1:
        raise UsageError(f"held_out should be between 0 and 1, both excluded, not {shorten(held_out)}")
    for name in references:
        if name not in zoo:
            raise unknown("layer", name, zoo)
    if transfer in protocol.anchors:
        raise UsageError(f"run {run.id} was searched with {transfer}; for transfer name an anchor that it never saw")
    steps = 2 * protocol.steps if steps is None else steps
    longer = replace(protocol, steps=steps, seed=first_seed)
    check_protocol(longer if transfer is None else replace(longer, anchors=(*protocol.anchors, transfer)))
    layers = [candidate.index for candidate, _ in store.best(run.id, top)]
    if not layers:
        raise UsageError(f"run {run.id} has no scored layer yet; `evonas resume {run.id}` goes on with it")
    fresh = _fresh(first_seed, seeds, run)
    test_steps, test_seeds = _of_first_test(store, run, steps, _fresh(fresh[-1] + 1, seeds, run))
    return _Plan(
        protocol.anchors,
        layers,
        list(dict.fromkeys(references)),
        steps,
        fresh,
        held_out,
        min(report, len(layers)),
        transfer,
        test_steps,
        test_seeds,
    )


def _check_share(plan: _Plan, run: RunInfo) -> None:
    from evonas.workers.trial.evaluate import less_held_out, load_data

    less_held_out(load_data(run.config.protocol), plan.held_out)


def _fresh(first: int, number: int, run: RunInfo) -> list[int]:
    """Seeds from `first` on that the run has not used."""
    return list(islice((seed for seed in count(first) if seed != run.config.protocol.seed), number))


def _of_first_test(store: Store, run: RunInfo, steps: int, seeds: list[int]) -> tuple[int, list[int]]:
    """The steps and seeds of the run's trainings for the test split: those recorded, else those asked for."""
    tested = [one for one in store.retrainings(run.id) if one.stage is not RetrainingStage.HELD_OUT and not one.failed]
    if all(one.steps == steps and one.seed in seeds for one in tested):
        return steps, seeds  # none yet, or those of this very request
    first = tested[0].steps
    return first, sorted({one.seed for one in tested if one.steps == first})
