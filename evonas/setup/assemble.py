"""Makes the parts of a search: a checked configuration, and the store.

Workers and the database are imported inside functions, only when they are used.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from evonas.errors import EvonasError, MixedSizesError, UsageError, shorten
from evonas.judging.cheap_filters import DUPLICATE, FUNCTIONAL, CheapFilters, Passed, Tally
from evonas.language.graph import Graph
from evonas.language.zoo import as_graph, zoo
from evonas.records.run_info import RunInfo
from evonas.records.store import Store
from evonas.settings import objectives, plugins
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.own_score import SCORE_REGISTRY, check_own_score, takes_rate, with_own_score
from evonas.settings.presets import DEFAULT, PRESETS, merged, read_preset, resolve
from evonas.settings.proposals import PROPOSING_REGISTRY
from evonas.settings.run_config import RunConfig
from evonas.settings.search_space import SearchSpace, generator

if TYPE_CHECKING:
    from evonas.workers.data.dataset import DataSet

DEFAULT_STORAGE = "evonas.db"
"""The database that is used if the user names none."""
_WORTH_SAYING = 0.01
"""The standard error of a score above which a search says so."""


def configure(
    space: SearchSpace | str | None = None,
    *,
    preset: str = DEFAULT,
    seed_graphs: Iterable[Graph | str] | None = None,
    protocol: EvaluationProtocol | Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    look_up: bool = True,
) -> RunConfig:
    """Makes the configuration of a run, checked as far as possible before the run starts.

    Args:
        space: a search space or its name; that of the preset if None.
        preset: the name of a preset, or the path of a TOML file. All other arguments take precedence over it.
        seed_graphs: layers to judge first.
        protocol: a whole protocol, or settings that replace those of the preset. Its seed is that of the run.
        settings: further fields of `RunConfig`.
        look_up: whether to look up the data, anchors, filters and objectives that it names, as a run needs it.

    Raises:
        UsageError: for an unknown name, a number out of range, or a seed graph that is not in the space or that the
            cheap filters reject.
    """
    document = read_preset(preset)
    found = _space(document.get("space", "evonorm") if space is None else space)
    if isinstance(protocol, EvaluationProtocol):
        protocol = dataclasses.asdict(protocol)
    document = resolve({**document, "space": found.name})
    if (
        document.get("target_anchors")
        and "target_anchors" not in settings
        and {"anchors", "score"} & set(protocol or {})
    ):
        target = ", ".join(document["target_anchors"])
        warnings.warn(
            f"the target of the preset ({target}) is left out, since you name the networks yourself; target_anchors "
            "names another",
            stacklevel=2,
        )
        document["target_anchors"] = ()
    document = merged(document, {**settings, "protocol": protocol or {}})
    document["protocol"] = with_own_score(document["protocol"], protocol or {})
    named = document.pop("seed_graphs", ()) if seed_graphs is None else seed_graphs
    seed = document.get("seed", 0)
    # The layers of a preset of evonas that a space cannot hold are left out; those that a user names are an error.
    optional = seed_graphs is None and preset in PRESETS
    kept = _usable(found, [seed_graph(graph) for graph in named], optional)
    document |= {"space": dataclasses.asdict(found), "seed_graphs": kept}
    document["protocol"] |= {"seed": seed}
    try:
        config = RunConfig.from_dict(document)
    except KeyError as error:
        raise UsageError(f"unknown setting: {error.args[0]}") from None
    except TypeError as error:
        raise UsageError(str(error)) from None
    if not look_up:
        return config
    protocol = named_protocol(config.protocol, config.propose, config.target_anchors)
    _check_causal(config)
    rates = () if protocol.score and not takes_rate(protocol.score) else config.rung_rates
    return dataclasses.replace(config, protocol=protocol, rung_rates=rates)


def _check_causal(config: RunConfig) -> None:
    """Check that no layer of a run would show a token of a causal network the later ones.

    Raises:
        UsageError: the space, a seed graph or a layer that others are compared with mixes positions.
    """
    from evonas.workers.anchors import anchor_named

    if config.protocol.score:
        return
    causal = [name for name in (*config.protocol.anchors, *config.target_anchors) if anchor_named(name).causal]
    if not causal:
        return
    why = f"has statistics over positions, which would show a token of {causal[0]} the later ones"
    if config.space.mixes_positions:
        raise UsageError(f"the space {config.space.name} {why}: use tokens or tokens-pointwise")
    for setting in ("references", "floor_layers"):
        for name in getattr(config, setting):
            if zoo[name].mixes_positions:
                raise UsageError(f"the layer {name} {why}: name others in {setting}, as the preset tokens does")


def _space(space: SearchSpace | str | Mapping[str, Any]) -> SearchSpace:
    if isinstance(space, SearchSpace):
        return space
    if isinstance(space, str):
        return named_space(space)
    try:
        return SearchSpace(**space)
    except TypeError as error:
        raise UsageError(f"the table space does not describe a search space: {error}") from None


def seed_graph(given: Graph | str) -> Graph:
    """A seed graph; the preset that `evonas config RUN` prints has them as JSON.

    Raises:
        UsageError: for text that is neither JSON of a graph, nor a published layer, nor an expression.
    """
    if not (isinstance(given, str) and given.lstrip().startswith("{")):
        return as_graph(given)
    try:
        return Graph.from_json(given)
    except EvonasError as error:
        raise UsageError(f"the seed graph {shorten(given)} cannot be read: {error}") from None


def _usable(space: SearchSpace, graphs: Sequence[Graph], optional: bool) -> tuple[str, ...]:
    """The seed graphs as JSON, without duplicates, and if they are optional without those that are not in the space.

    Raises:
        UsageError: for a graph that is not in the space or that the cheap filters reject.
    """
    filters, kept = CheapFilters(), []
    for graph in graphs:
        try:
            space.embed(graph, generator(0))  # raises if the graph is not in the space
        except UsageError:
            if optional:
                continue
            raise
        verdict = filters.judge(graph, Tally())
        if isinstance(verdict, Passed):
            filters.remember(graph, verdict.key, verdict.functional_key)
            kept.append(graph.to_json(space.name))
        elif verdict[0] not in (DUPLICATE, FUNCTIONAL):  # naming a seed twice is harmless
            raise UsageError(f"the seed graph {graph.written()} cannot be used: {verdict[1].reason}")
    return tuple(kept)


def open_storage(storage: str | Path | Store | None, *, read_only: bool = False, create: bool = True) -> Store:
    """Opens the store that a user names.

    Args:
        storage: the path or URL of a database, a store, which is returned as it is, or None for a store in memory.
        read_only: whether to refuse writing.
        create: whether to create a database that does not exist.

    Raises:
        UsageError: if the URL cannot be used, or the database does not exist and `create` is False.
        StorageError: if the database cannot be opened.
    """
    if isinstance(storage, Store):
        return storage
    if storage is None:
        from evonas.records.memory_store import MemoryStore

        return MemoryStore()
    from evonas.db.connect import open_store

    return open_store(str(storage), read_only=read_only, create=create)


def backup_storage(storage: str, target: Path) -> None:
    """Copies a database to a new file, as `evonas.db.backup.backup` does.

    Raises:
        UsageError, StorageError: as there.
    """
    from evonas.db.backup import backup

    backup(storage, target)


def latest_run(store: Store) -> RunInfo:
    """The latest run of a store.

    Raises:
        UsageError: if the store has no run.
    """
    ids = store.run_ids()
    if not ids:
        raise UsageError("there are no runs here yet; start one with `evonas search`")
    return store.run(ids[-1])


def chosen_run(store: Store, run_id: int | None) -> RunInfo:
    """The run of a store with a number, or the latest one for None.

    Raises:
        UsageError: if `run_id` is not an integer, or the store has no such run.
    """
    if run_id is None:
        return latest_run(store)
    if not isinstance(run_id, int) or isinstance(run_id, bool):
        raise UsageError(f"run_id must be the number of a run, or None for the latest, not {shorten(run_id)}")
    return store.run(run_id)


def named_space(name: str) -> SearchSpace:
    """Finds a search space by name, which may be FILE.py:NAME.

    Raises:
        UsageError: if there is no such space, or the file cannot be loaded.
    """
    from evonas.search_spaces import space_named

    plugins.load_named_files([name])
    return space_named(name)


def named_protocol(protocol: EvaluationProtocol, propose: str = "", targets: Sequence[str] = ()) -> EvaluationProtocol:
    """Loads the user's own files that a protocol names, records them in the protocol, and checks it.

    Args:
        protocol: the protocol.
        propose: the name of the user's function that proposes layers, whose file is recorded there as well.
        targets: further anchors, which are checked and recorded likewise.

    Returns:
        The protocol with its `plugins`.

    Raises:
        UsageError: for the same reasons as in `check_protocol`, or if a file cannot be read or raises an exception.
    """
    from evonas.workers.anchors import ANCHOR_REGISTRY as ANCHORS
    from evonas.workers.anchors import anchor_named, plain_name
    from evonas.workers.data.data_sets import DATA_SET_REGISTRY as DATA_SETS
    from evonas.workers.data.data_sets import images_of
    from evonas.workers.trial.network_filters import FILTERS

    anchors = [] if protocol.score else [plain_name(anchor) for anchor in (*protocol.anchors, *targets)]
    accuracies = (objectives.ANCHOR_ACCURACIES, *protocol.anchors)
    further = [name for name in protocol.objectives if name not in accuracies]
    of_kind = (
        (ANCHORS, anchors),
        (DATA_SETS, [] if protocol.score else [images_of(protocol.data)]),
        (SCORE_REGISTRY, [protocol.score] if protocol.score else []),
        (FILTERS, protocol.filters),
        (objectives.OBJECTIVE_REGISTRY, further),
        (PROPOSING_REGISTRY, [propose] if propose else []),
    )
    sources = plugins.load_named_files(name for _, names in of_kind for name in names)
    points = [(r.group, point) for r, names in of_kind for name in names if (point := r.entry_point(name)) is not None]
    own = [objectives.OBJECTIVE_REGISTRY.find(name) for name in further if name not in objectives.OBJECTIVES]
    recorded = (*plugins.plugin_records(sources, points), *map(objectives.objective_record, own))
    if propose:
        PROPOSING_REGISTRY.find(propose)
    protocol = dataclasses.replace(protocol, plugins=recorded)
    try:
        check_protocol(protocol)
    except MixedSizesError as error:
        protocol = dataclasses.replace(protocol, image_size=min(anchor_named(name).pixels for name in protocol.anchors))
        warnings.warn(
            f"the images have different sizes ({str(error).partition(':')[0]}), so they are resampled to "
            f"{protocol.image_size}×{protocol.image_size}, for which {protocol.anchors[0]} is made; "
            f"--set protocol.image_size={2 * (protocol.image_size or 0)} makes them larger",
            stacklevel=2,
        )
        check_protocol(protocol)
    if targets:
        of_targets = (objectives.ANCHOR_ACCURACIES,)  # further objectives are measured on the protocol's anchors
        check_protocol(dataclasses.replace(protocol, anchors=tuple(targets), objectives=of_targets))
    return protocol


def check_protocol(protocol: EvaluationProtocol) -> None:
    """Loads the files that a protocol recorded, and checks the anchors, filters and data that it names.

    Raises:
        UsageError: for an unknown anchor, filter or data set, missing data, or a recorded file that is missing or has
            changed.
    """
    from evonas.workers.anchors import anchor_named, check_user_anchor
    from evonas.workers.trial.evaluate import load_data
    from evonas.workers.trial.network_filters import FILTERS

    plugins.load_recorded_files(protocol.plugins)
    for name in protocol.filters:
        FILTERS.find(name)
    if protocol.score:
        check_own_score(protocol)
        return
    data = load_data(protocol)
    for anchor in protocol.anchors:
        part = data.read_by(anchor_named(anchor).reads)
        check_user_anchor(anchor, part.channels, seen_size(part, protocol), part.classes)


def check_anchor(name: str, protocol: EvaluationProtocol) -> None:
    """Checks that an anchor works on a protocol's images, of the size that training sees.

    Raises:
        UsageError: if it does not, or the anchor or the data set is unknown.
    """
    from evonas.workers.anchors import anchor_named, check_runs
    from evonas.workers.trial.evaluate import load_data

    data = load_data(protocol).read_by(anchor_named(name).reads)
    check_runs(name, data.channels, seen_size(data, protocol), data.classes)


def seen_size(data: DataSet, protocol: EvaluationProtocol) -> tuple[int, int]:
    """Return the height and width of what networks are shown in training."""
    from evonas.workers.data.batches import crop_size

    return crop_size(data.size, protocol.pad, protocol.crop) if data.kind == "images" else data.size


def note_on_noise(protocol: EvaluationProtocol) -> str:
    """A sentence on how far a score is off by the choice of validation images; empty if by a point at most.

    It is the standard error of a share of n images, sqrt(p (1 - p) / n), at its largest, where half of them are right.

    Raises:
        UsageError: if the data set is unknown, or cannot be read.
    """
    from evonas.workers.trial.evaluate import load_data

    if protocol.score:
        return ""
    data = load_data(protocol)
    if data.kind == "text":
        return ""  # whose score is no share of right answers
    number = len(data.validation)
    error = 0.5 / number**0.5
    if error <= _WORTH_SAYING:
        return ""
    return (
        f"There are {number:,} validation images, so a score has a standard error of up to {100 * error:.1f} points: "
        "layers that are closer than that cannot be told apart by one of them."
    )


def chance_level(protocol: EvaluationProtocol) -> float:
    """The accuracy on a protocol's images of a network that always names the class with most training images.

    Of networks with other goals it is what these count as chance, and of several the lowest. It is 0 for a training
    loop of the user's own, of which nothing is known.

    Raises:
        UsageError: if the data set is unknown, or cannot be read.
    """
    from evonas.workers.anchors import anchor_named
    from evonas.workers.trial.evaluate import load_data

    if protocol.score:
        return 0.0
    data, rows = load_data(protocol), [anchor_named(name) for name in protocol.anchors]
    return min(row.goal.chance(data.read_by(row.reads).train) for row in rows)
