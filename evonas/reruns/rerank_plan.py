"""Which trainings a reranking consists of."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice

from evonas.errors import UsageError, shorten, unknown
from evonas.language.zoo import zoo
from evonas.records.evidence import best_known
from evonas.records.retraining import Layer, Retraining, RetrainingKey, RetrainingStage
from evonas.records.run_info import RunInfo
from evonas.records.store import Store
from evonas.settings.objectives import ANCHOR_ACCURACIES
from evonas.settings.own_score import takes_split
from evonas.settings.run_config import RunConfig
from evonas.setup.assemble import check_protocol

AUTO = "auto"
"""The name that stands for `unseen_anchor`."""
UNSEEN_ANCHORS = ("vgg-small", "densenet-small", "efficientnet-small")
"""Anchors on which a layer is tried that a search did not train: the first of them."""
UNSEEN_MEDIUM_ANCHORS = ("vgg-medium", "densenet-medium", "efficientnet-medium")
"""The same for a search whose target is a network of medium size."""
UNSEEN_TRANSFORMERS = ("dit-small", "vit-small", "encoder-small", "gpt-small")
"""The same for a search on transformers."""
FIRST_SEED = 1000
"""The first seed of the trainings after a search."""
HELD_OUT_SHARE = 0.2
"""The share of the training split on which layers are ranked."""


def unseen_pool(config: RunConfig) -> tuple[str, ...]:
    """The anchors among which `unseen_anchor` chooses.

    They are transformers that the data and the layers suit if all networks of the search are transformers, and of
    medium size if a target of the search is.
    """
    from evonas.workers.anchors import ANCHORS, own_row, plain_name
    from evonas.workers.data.data_sets import kinds_of

    every = [own_row(name) for name in (*config.protocol.anchors, *config.target_anchors)]
    if all(row is not None and row.is_transformer for row in every):
        kinds, causal_too = kinds_of(config.protocol.data), not config.space.mixes_positions
        rows = [ANCHORS[name] for name in UNSEEN_TRANSFORMERS]
        return tuple(row.name for row in rows if row.reads in kinds and (causal_too or not row.causal))
    medium = any(plain_name(text).endswith("-medium") for text in config.target_anchors)
    return UNSEEN_MEDIUM_ANCHORS if medium else UNSEEN_ANCHORS


def unseen_anchor(config: RunConfig) -> str | None:
    """The first of `UNSEEN_ANCHORS` that a search does not train, whatever its width and its weights' normalisation.

    Of a search on transformers it is the first of `UNSEEN_TRANSFORMERS` whose architecture it does not train. If the
    target of the search is a network of medium size, it is the first of `UNSEEN_MEDIUM_ANCHORS` of which the
    search trains neither that size nor the small one. None if there is no such anchor, or a loop of the user's own
    trains.
    """
    from evonas.workers.anchors import ANCHORS, own_row, plain_name

    if config.protocol.score:
        return None
    targets, trained = ({plain_name(text) for text in of} for of in (config.target_anchors, config.protocol.anchors))
    pool = unseen_pool(config)
    if set(pool) <= set(UNSEEN_TRANSFORMERS):
        rows = [own_row(name) for name in (*config.protocol.anchors, *config.target_anchors)]
        families = {row.family for row in rows if row is not None}
        return next((name for name in pool if ANCHORS[name].family not in families), None)
    if pool == UNSEEN_MEDIUM_ANCHORS:
        of_family = {name.removesuffix("-medium").removesuffix("-small") for name in targets | trained}
        return next((name for name in pool if name.removesuffix("-medium") not in of_family), None)
    return next((name for name in pool if name not in targets | trained), None)


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """What a reranking is asked for; the attributes are the arguments of `evonas.rerank`.

    Attributes:
        top: the number of layers to train again.
        references: the names of published layers to train beside them.
        seeds: the number of trainings of each layer on each anchor.
        first_seed: the first seed.
        steps: the steps of each training; None for those of the longest rung of the run, and at least twice its steps.
        held_out: the share of the training split to hold out, between 0 and 1.
        report: the number of layers to report.
        unseen: the unseen anchor; None for none.
    """

    top: int
    references: Sequence[str]
    seeds: int
    first_seed: int
    steps: int | None
    held_out: float
    report: int
    unseen: str | None

    def steps_of(self, run: RunInfo) -> int:
        """The steps of each training."""
        config = run.config
        return max((2, *config.rungs)) * config.protocol.steps if self.steps is None else self.steps

    def seeds_of(self, run: RunInfo, tested: Container[int] = ()) -> list[int]:
        """The seeds of the trainings that layers are ranked by: as many as asked for that are fresh.

        Args:
            run: the run, whose search used some seeds.
            tested: seeds with which layers have been scored on the test split, which should not choose layers too.
        """
        return _fresh(self.first_seed, self.seeds, run, tested)

    def check(self, run: RunInfo) -> None:
        """Checks everything but the protocol.

        Raises:
            UsageError: for a number out of range, an unknown reference, or an unseen anchor that the run has.
        """
        for name, value in (("top", self.top), ("seeds", self.seeds), ("report", self.report)):
            if value < 1:
                raise UsageError(f"{name} must be at least 1, not {shorten(value)}")
        if not 0 < self.held_out < 1:
            raise UsageError(f"held_out must be greater than 0 and less than 1, not {shorten(self.held_out)}")
        for name in self.references:
            if name not in zoo:
                raise unknown("layer", name, zoo)
        if self.unseen is not None and run.config.protocol.score:
            raise UsageError(f"run {run.id} was searched with {run.config.protocol.score}: leave out --transfer")
        if self.unseen in (*run.config.protocol.anchors, *run.config.target_anchors):
            raise UsageError(
                f"run {run.id} was searched with {self.unseen}; for transfer, name an anchor that it never saw"
            )


def verify_request(run: RunInfo, unseen: str | None) -> RerankRequest:
    """What the verification of a run asks for, with an unseen anchor or None."""
    config = run.config
    return RerankRequest(
        top=max(1, config.finalists),
        references=config.references,
        seeds=config.verify_seeds,
        first_seed=FIRST_SEED,
        steps=config.verify_steps,
        held_out=HELD_OUT_SHARE,
        report=1,
        unseen=unseen,
    )


@dataclass(frozen=True)
class RerankPlan:
    """The trainings of a reranking.

    Attributes:
        anchors: the networks that layers are verified on (`RunConfig.verified_on`).
        layers: the indices of the candidates to train again.
        references: the published layers to train beside them.
        steps, seeds: of the trainings that layers are ranked by.
        held_out: the share of the training split that is held out of those trainings.
        report: the largest number of layers to report.
        unseen: the unseen anchor; None for none.
        test_steps, test_seeds: of the trainings that are scored on the test split.
    """

    anchors: Sequence[str]
    layers: Sequence[int]
    references: Sequence[str]
    steps: int
    seeds: Sequence[int]
    held_out: float
    report: int
    unseen: str | None
    test_steps: int
    test_seeds: Sequence[int]

    def trained(self, layers: Sequence[Layer]) -> list[RetrainingKey]:
        """The trainings that the layers are ranked by."""
        return _keys(layers, RetrainingStage.HELD_OUT, self.anchors, self.seeds, self.steps, self.held_out)

    def tested(self, layers: Sequence[Layer]) -> list[RetrainingKey]:
        """The trainings of the layers that are scored on the test split."""
        keys = _keys(layers, RetrainingStage.TEST, self.anchors, self.test_seeds, self.test_steps)
        if self.unseen is None:
            return keys
        return keys + _keys(layers, RetrainingStage.TRANSFER, [self.unseen], self.test_seeds, self.test_steps)

    def all_of(self, layer: Layer) -> list[RetrainingKey]:
        """All trainings of a reference or a reported layer."""
        return self.trained([layer]) + self.tested([layer])


def plan_reranking(
    store: Store, run: RunInfo, request: RerankRequest, chosen: Sequence[int] | None = None
) -> RerankPlan:
    """Checks a request and decides on the layers, steps and seeds of its trainings.

    Args:
        store: the store that holds the run.
        run: the run.
        request: what is asked for.
        chosen: the candidates to train again; the best by all that is known of them if None.

    Raises:
        UsageError: if the request makes no sense for this run, or the run has no scored layer.
    """
    request.check(run)
    protocol = run.config.protocol
    steps = request.steps_of(run)
    longer = replace(protocol, steps=steps, seed=request.first_seed, objectives=(ANCHOR_ACCURACIES,))
    anchors = run.config.verified_on if request.unseen is None else (*run.config.verified_on, request.unseen)
    check_protocol(replace(longer, anchors=anchors))
    if protocol.score and not takes_split(protocol):
        raise UsageError(
            f"{protocol.score} takes no `split`, so that layers cannot be scored on data that chose nothing: let it "
            "take split, which is 'validation' in a search, and then 'held-out' and 'test'"
        )
    layers = [known[0].index for known in best_known(store, run, request.top)] if chosen is None else list(chosen)
    if not layers:
        raise UsageError(f"run {run.id} has no scored layer yet; continue it with `evonas resume {run.id}`")
    retrainings = store.retrainings(run.id)
    tested = {one.seed for one in retrainings if one.stage is not RetrainingStage.HELD_OUT and not one.failed}
    test_steps, test_seeds = test_terms(retrainings, run, request)
    return RerankPlan(
        anchors=run.config.verified_on,
        layers=layers,
        references=list(dict.fromkeys(request.references)),
        steps=steps,
        seeds=request.seeds_of(run, tested),
        held_out=request.held_out,
        report=min(request.report, len(layers)),
        unseen=request.unseen,
        test_steps=test_steps,
        test_seeds=test_seeds,
    )


def _keys(
    layers: Sequence[Layer],
    stage: RetrainingStage,
    anchors: Sequence[str],
    seeds: Sequence[int],
    steps: int,
    share: float = 0.0,
) -> list[RetrainingKey]:
    # Seed by seed: the batches of a seed are made once, and an interrupted call has trained all layers alike.
    return [(layer, stage, anchor, seed, steps, share) for seed in seeds for layer in layers for anchor in anchors]


def _fresh(first: int, number: int, run: RunInfo, tested: Container[int] = ()) -> list[int]:
    """The next `number` seeds, counting from `first`, that neither the search nor the test split has used."""
    config = run.config
    used = {config.protocol.seed, *(config.on_rung(rung).seed for rung in range(1, len(config.rungs) + 1))}
    return list(islice((seed for seed in count(first) if seed not in used and seed not in tested), number))


def test_terms(retrainings: Sequence[Retraining], run: RunInfo, request: RerankRequest) -> tuple[int, list[int]]:
    """The steps and seeds of trainings that are scored on the test split.

    They are those of the run's first such trainings, because the test split is used only once, and before there are
    any, those of the request: the seeds that follow the ones by which layers are ranked.
    """
    tested = [one for one in retrainings if one.stage is not RetrainingStage.HELD_OUT and not one.failed]
    # What is there may be a part of the run's verification, or of this very request.
    verification = [verify_request(run, None)] if tested and run.config.finalists else []
    for asked in (*verification, request):
        steps, seeds = asked.steps_of(run), _fresh(asked.seeds_of(run)[-1] + 1, asked.seeds, run)
        if all(one.steps == steps and one.seed in seeds for one in tested):
            return steps, seeds
    first = tested[0].steps
    return first, sorted({one.seed for one in tested if one.steps == first})
