"""Trains the best layers of a run again, to find out which of them are good and which were lucky.

Each training is recorded as it ends. A call that was interrupted continues where it stopped, and a call that was made
before trains nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Unpack

from evonas.evolution.executor import Executor
from evonas.evolution.trainings import Progress
from evonas.records.retraining import Layer, RetrainingKey, RetrainingStage
from evonas.records.run_info import RunInfo
from evonas.records.store import Store
from evonas.reruns.ranking import Ranking, by_mean
from evonas.reruns.rerank_cost import RerankCost, cost_of
from evonas.reruns.rerank_plan import (
    AUTO,
    FIRST_SEED,
    HELD_OUT_SHARE,
    RerankPlan,
    RerankRequest,
    plan_reranking,
    unseen_anchor,
)
from evonas.reruns.retrainer import Retrainer
from evonas.settings.plugins import load_named_files
from evonas.setup.assemble import DEFAULT_STORAGE, chosen_run, open_storage
from evonas.setup.make_executor import Workers, check_executor, make_executor
from evonas.setup.recorded_data import check_same_data


def rerank(
    run_id: int | None = None,
    *,
    storage: str | Path | Store = DEFAULT_STORAGE,
    top: int = 10,
    references: Sequence[str] | None = None,
    seeds: int = 5,
    first_seed: int = FIRST_SEED,
    steps: int | None = None,
    held_out: float = HELD_OUT_SHARE,
    report: int = 3,
    transfer: str | None = AUTO,
    executor: str | Executor = "ray",
    progress: Progress | None = None,
    announce: Callable[[RerankCost], None] | None = None,
    other_data: bool = False,
    **workers: Unpack[Workers],
) -> Ranking:
    """Trains the best layers of a run again, longer and with fresh seeds, and scores the best on the test split.

    The layers are ranked by their mean accuracy on a part of the training split that is held out of training. Then the
    best layers and the references are trained on the whole training split with other seeds, and scored on the test
    split, on the networks that layers are for (`RunConfig.verified_on`) and on an unseen anchor. No layer is measured
    twice on the test split: later calls show the recorded scores, and train further layers with the steps and seeds of
    the first call.

    Args:
        run_id: the run, finished or not; the latest run of the store if None.
        storage: the path or URL of a database, or a store.
        top: how many layers to train again, the best by all that is known of them.
        references: the published layers to train beside them; None for those of the run.
        seeds: the number of trainings of each layer on each anchor.
        first_seed: the first seed. The others follow it, then those for the test split; the run's own seed is skipped.
        steps: the steps of each training; if None, those of the longest rung of the run, and at least twice its steps.
        held_out: the share of the training split to hold out and score on, between 0 and 1.
        report: how many of the best layers to report.
        transfer: the unseen anchor, which the search must not have used; "auto" for that of a verification
            (`evonas.reruns.rerank_plan.unseen_anchor`); None for none.
        executor: as in `search`.
        progress: its `tick` is called with the largest possible number of trainings left.
        announce: is called with what the trainings will cost, before the first of them; not if there are none.
        other_data: whether to train even if the images in the run's files are others than it began with.
        workers: `workers`, `ray_address`, `gpus_per_worker`, `cpus_per_worker`, `recycle_after`, as in `search`.

    Raises:
        UsageError: if the run does not exist or has no scored layer, its images have changed, or a setting makes no
            sense.
    """
    from evonas.workers.anchors import plain_name

    with ExitStack() as stack:
        if isinstance(executor, Executor):
            stack.enter_context(executor)
        else:
            check_executor(executor, **workers)
        store = open_storage(storage, create=False)
        if not isinstance(storage, Store):
            stack.enter_context(store)
        run = chosen_run(store, run_id)
        check_same_data(run, other_data)
        transfer = unseen_anchor(run.config) if transfer == AUTO else transfer
        if transfer is not None:
            load_named_files([plain_name(transfer)])
        references = run.config.references if references is None else references
        request = RerankRequest(top, references, seeds, first_seed, steps, held_out, report, transfer)
        plan = plan_reranking(store, run, request)

        def start() -> Executor:
            if not isinstance(executor, Executor):
                check_share(plan, run)
            if announce is not None:
                announce(cost_of(store, run, _left(plan, trainer)))
            if isinstance(executor, Executor):
                return executor
            deadline = longest(plan, run) * run.config.deadline
            made = make_executor(executor, run.config.protocol, deadline=deadline, **workers)
            return stack.enter_context(made)

        trainer = Retrainer(store, run, start, progress)
        return _carry_out(plan, run, trainer)


def _left(plan: RerankPlan, trainer: Retrainer) -> list[RetrainingKey]:
    """The largest possible number of trainings that a plan needs yet."""
    first = trainer.missing(plan.trained([*plan.layers, *plan.references]))
    return [*first, *_later(plan, trainer)]


def _later(plan: RerankPlan, trainer: Retrainer) -> list[RetrainingKey]:
    """The trainings on the test split, as far as they are known before layers are ranked.

    Which layers will be reported is not known yet. At most, they are those of which most trainings are missing.
    """
    untested = sorted((trainer.missing(plan.tested([layer])) for layer in plan.layers), key=len, reverse=True)
    of_layers = [key for keys in untested[: plan.report] for key in keys]
    return [*of_layers, *trainer.missing(plan.tested(plan.references))]


def _carry_out(plan: RerankPlan, run: RunInfo, trainer: Retrainer) -> Ranking:
    everything: list[Layer] = [*plan.layers, *plan.references]
    trainer.carry_out(plan.trained(everything), more=len(_later(plan, trainer)))
    ranked = by_mean(trainer.ranked(layer, plan.trained([layer])) for layer in plan.layers)
    # A layer whose trainings all failed is not reported, even if there are fewer layers than asked for.
    worthy = [one for one in ranked if one.samples[RetrainingStage.HELD_OUT].by_seed][: plan.report]
    reported = [one.index for one in worthy]
    trainer.carry_out(plan.tested([*reported, *plan.references]))
    return Ranking(
        run_id=run.id,
        anchors=run.config.verified_on,
        transfer=plan.unseen,
        held_out=plan.held_out,
        steps=plan.steps,
        seeds=plan.seeds,
        test_steps=plan.test_steps,
        test_seeds=plan.test_seeds,
        layers=[trainer.ranked(index, plan.all_of(index)) for index in reported] + ranked[len(reported) :],
        reported=len(reported),
        references=by_mean(trainer.ranked(name, plan.all_of(name)) for name in plan.references),
    )


def longest(plan: RerankPlan, run: RunInfo) -> float:
    """How many times as long as a training of the run the longest of a plan is, at least 1."""
    return max(1.0, max(plan.steps, plan.test_steps) / run.config.protocol.steps)


def check_share(plan: RerankPlan, run: RunInfo) -> None:
    """Checks that the share which a plan holds out of the run's training images leaves some on both sides.

    Raises:
        UsageError: if it does not.
    """
    from evonas.workers.trial.evaluate import less_held_out, load_data

    if run.config.protocol.score:
        return
    less_held_out(load_data(run.config.protocol), plan.held_out)
