"""Verifies the best layers of a run after its search: on held-out images, then once on the test split.

Each training is recorded as it ends, so that an interrupted or killed verification continues where it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from evonas.errors import UsageError
from evonas.evolution.executor import Executor
from evonas.evolution.trainings import Progress
from evonas.records.coordinator_claim import claimed
from evonas.records.retraining import Layer
from evonas.records.run_info import RunInfo, RunStatus
from evonas.records.store import Store
from evonas.reruns.finalists import finalists
from evonas.reruns.ranking import by_mean
from evonas.reruns.rerank_plan import RerankPlan, plan_reranking, unseen_anchor, unseen_pool, verify_request
from evonas.reruns.reranking import check_share, longest
from evonas.reruns.retrainer import Retrainer
from evonas.reruns.verdict import Verdict, best_sound, judged, verdict_of


@dataclass(frozen=True)
class Verification:
    """How a verification ended.

    Attributes:
        verdict: the verdict on the run; None if there is none yet.
        note: what the user has to know: why there is no verdict, or no unseen network; empty if nothing is amiss.
    """

    verdict: Verdict | None
    note: str = ""


def verify(store: Store, run_id: int, executor: Executor, progress: Progress | None = None) -> Verification:
    """Verifies a run whose search is finished, or continues to. Ctrl-C stops it and keeps what is recorded.

    The finalists are trained again with fresh seeds and ranked on held-out images. The best of those that never
    collapsed meets the test split, beside published layers, on the networks that layers are for
    (`RunConfig.verified_on`) and on an unseen one. If it collapses there, no other takes its place, because whoever
    tests until a layer passes has chosen by the test split.

    Args:
        store: the store that holds the run.
        run_id: the run's number.
        executor: carries out the trainings; it must have no other tasks, and is not closed.
        progress: its `tick` is called with the largest possible number of trainings left.

    Raises:
        UsageError: if another coordinator is working on the run.
    """
    run = store.run(run_id)
    if run.status is not RunStatus.FINISHED:
        return Verification(verdict_of(store, run_id), f"run {run_id} is not verified: its search has not ended")
    if not run.config.finalists:
        return Verification(verdict_of(store, run_id))
    with claimed(store, run_id):
        try:
            plan, note = _plan(store, run)
            if plan is not None:
                executor.allow(longest(plan, run) * run.config.deadline)
                _carry_out(plan, run, Retrainer(store, run, lambda: executor, progress))
        except KeyboardInterrupt:
            kept = len(store.retrainings(run_id))
            note = f"the verification was stopped; {kept} trainings are recorded, `evonas resume {run_id}` continues"
    return Verification(verdict_of(store, run_id), note)


def _plan(store: Store, run: RunInfo) -> tuple[RerankPlan | None, str]:
    """The trainings of a verification, and what the user has to know; no plan if the run cannot be verified."""
    chosen = finalists(store, run.id, run.config.finalists)
    if not chosen:
        return None, f"run {run.id} is not verified: it has no scored layer"
    try:
        unseen, note = _unseen_anchor(run)
        plan = plan_reranking(store, run, verify_request(run, unseen), chosen)
        check_share(plan, run)
    except UsageError as error:  # of images or files as they are now, after a search that is worth showing
        return None, f"run {run.id} cannot be verified: {error}"
    return plan, note


def _carry_out(plan: RerankPlan, run: RunInfo, trainer: Retrainer) -> None:
    one_layer = len(plan.tested(plan.layers[:1]))
    trainer.carry_out(plan.trained(plan.layers), more=one_layer + len(trainer.missing(plan.tested(plan.references))))
    ranked = by_mean(trainer.ranked(index, plan.trained([index])) for index in plan.layers)
    chosen = best_sound(judged(ranked, run))
    if chosen is None or not chosen.sound:
        return
    tested: list[Layer] = [chosen.index, *plan.references]
    # The unseen anchor comes first, so that the records of an interrupted verification tell that there is one.
    trainer.carry_out(sorted(plan.tested(tested), key=lambda key: key[2] != plan.unseen))


def _unseen_anchor(run: RunInfo) -> tuple[str | None, str]:
    """An anchor that the search did not train, or None and the reason."""
    from evonas.setup.assemble import check_anchor

    if run.config.protocol.score:
        return None, ""
    unseen = unseen_anchor(run.config)
    if unseen is None:
        pool = ", ".join(unseen_pool(run.config))
        return None, f"no unseen network is tried: the search trained networks like each of {pool} itself"
    try:
        check_anchor(unseen, run.config.protocol)
    except UsageError as error:
        return None, f"no unseen network is tried: {error}"
    return unseen, ""
