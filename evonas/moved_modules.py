"""Modules under the names that they had before evonas was divided into packages.

Files of users' own (anchors, data sets, filters, objectives) are recorded with a run by their digest, and a run is only
resumed with the file that it began with. So what such a file imports has to stay, and so do the names by which pickles,
such as a model that `torch.save` saved whole, refer to classes. Importing an old name warns and gives the module of
today.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING
from warnings import warn

if TYPE_CHECKING:
    from importlib.abc import Loader, MetaPathFinder
else:
    Loader = MetaPathFinder = object  # importing the two takes as long as the rest of `import evonas`

MOVED = {
    "evonas.aggregations": "evonas.language.aggregations",
    "evonas.api": "evonas.front.api",
    "evonas.arithmetic": "evonas.language.arithmetic",
    "evonas.assemble": "evonas.setup.assemble",
    "evonas.attempts": "evonas.evolution.failed_attempts",
    "evonas.backends": "evonas.layers.backend",
    "evonas.breakdown": "evonas.records.time_breakdown",
    "evonas.building": "evonas.layers.build_clock",
    "evonas.candidate": "evonas.settings.candidate",
    "evonas.collector": "evonas.evolution.gc_pause",
    "evonas.comparison": "evonas.reruns.baseline",
    "evonas.config": "evonas.settings.run_config",
    "evonas.derive": "evonas.language.differentiate",
    "evonas.dispatch": "evonas.layers.backend_choice",
    "evonas.doctor": "evonas.setup.doctor",
    "evonas.draw": "evonas.report.graph_drawing",
    "evonas.draws": "evonas.settings.fast_random",
    "evonas.elementwise": "evonas.language.elementwise",
    "evonas.environment": "evonas.records.environment",
    "evonas.executor": "evonas.evolution.executor",
    "evonas.executors": "evonas.setup.make_executor",
    "evonas.expression": "evonas.language.expression",
    "evonas.extent": "evonas.language.varying_axes",
    "evonas.filters": "evonas.judging.cheap_filters",
    "evonas.fingerprint": "evonas.judging.functional_key",
    "evonas.flow": "evonas.swapping.data_flow",
    "evonas.forward_code": "evonas.swapping.forward_code",
    "evonas.forward_edit": "evonas.swapping.forward_edit",
    "evonas.front.assemble": "evonas.setup.assemble",
    "evonas.front.doctor": "evonas.setup.doctor",
    "evonas.front.make_executor": "evonas.setup.make_executor",
    "evonas.gradients": "evonas.language.autograd_functions",
    "evonas.graph": "evonas.language.graph",
    "evonas.history": "evonas.evolution.history",
    "evonas.hurdles": "evonas.judging.hurdles",
    "evonas.hypervolume": "evonas.judging.hypervolume",
    "evonas.json_form": "evonas.language.graph_json",
    "evonas.kernels.cache": "evonas.cache",
    "evonas.layer": "evonas.layers.norm_act",
    "evonas.layout": "evonas.report.graph_layout",
    "evonas.lease": "evonas.records.coordinator_claim",
    "evonas.listing": "evonas.language.listing",
    "evonas.memory_store": "evonas.records.memory_store",
    "evonas.norm_layers": "evonas.layers.norm_layers",
    "evonas.objectives": "evonas.settings.objectives",
    "evonas.observer": "evonas.evolution.observer",
    "evonas.op": "evonas.language.primitive",
    "evonas.ops": "evonas.language.primitive_table",
    "evonas.pairs": "evonas.swapping.op_kinds",
    "evonas.patience": "evonas.records.store_retry",
    "evonas.plugins": "evonas.settings.plugins",
    "evonas.presets": "evonas.settings.presets",
    "evonas.probes": "evonas.judging.numpy_evaluation",
    "evonas.propose": "evonas.evolution.propose",
    "evonas.protocol": "evonas.settings.evaluation_protocol",
    "evonas.published": "evonas.language.zoo",
    "evonas.ranking": "evonas.reruns.ranking",
    "evonas.recall": "evonas.judging.cheap_filters",
    "evonas.reference": "evonas.layers.reference",
    "evonas.reranking": "evonas.reruns.reranking",
    "evonas.results": "evonas.records.results",
    "evonas.retrainer": "evonas.reruns.retrainer",
    "evonas.retraining": "evonas.records.retraining",
    "evonas.rules": "evonas.language.rewrite_rules",
    "evonas.runs": "evonas.records.run_info",
    "evonas.select": "evonas.judging.selection",
    "evonas.sheet": "evonas.report.graph_sheet",
    "evonas.simplify": "evonas.language.simplify",
    "evonas.slopes": "evonas.language.derivative_primitives",
    "evonas.space": "evonas.settings.search_space",
    "evonas.statistics": "evonas.reruns.significance",
    "evonas.store": "evonas.records.store",
    "evonas.swap_apply": "evonas.swapping.swap_apply",
    "evonas.swap_plan": "evonas.swapping.swap_plan",
    "evonas.swap_report": "evonas.swapping.swap_report",
    "evonas.timekeeping": "evonas.records.timekeeping",
    "evonas.totals": "evonas.records.running_totals",
    "evonas.trainings": "evonas.evolution.trainings",
    "evonas.transferring": "evonas.reruns.task_transfer",
    "evonas.twins": "evonas.judging.start_twins",
    "evonas.workers.allocator": "evonas.workers.executors.allocator",
    "evonas.workers.arrays": "evonas.workers.data.npz_data",
    "evonas.workers.batches": "evonas.workers.data.batches",
    "evonas.workers.cifar": "evonas.workers.data.cifar",
    "evonas.workers.dataset": "evonas.workers.data.dataset",
    "evonas.workers.digits": "evonas.workers.data.digits",
    "evonas.workers.distortion": "evonas.workers.data.augmentation",
    "evonas.workers.evaluate": "evonas.workers.trial.evaluate",
    "evonas.workers.filters": "evonas.workers.trial.network_filters",
    "evonas.workers.image_folder": "evonas.workers.data.image_folder",
    "evonas.workers.local_executor": "evonas.workers.executors.local_executor",
    "evonas.workers.measures": "evonas.workers.trial.objective_measures",
    "evonas.workers.metrics": "evonas.workers.executors.metrics",
    "evonas.workers.pickled": "evonas.workers.data.safe_unpickle",
    "evonas.workers.ray_cluster": "evonas.workers.executors.ray_cluster",
    "evonas.workers.ray_executor": "evonas.workers.executors.ray_executor",
    "evonas.workers.ray_meter": "evonas.workers.executors.ray_meter",
    "evonas.workers.ray_pool": "evonas.workers.executors.ray_pool",
    "evonas.workers.ray_resources": "evonas.workers.executors.ray_resources",
    "evonas.workers.ray_worker": "evonas.workers.executors.ray_worker",
    "evonas.workers.signal": "evonas.workers.trial.signal_propagation",
    "evonas.workers.splits": "evonas.workers.data.splits",
    "evonas.workers.stability": "evonas.workers.trial.stability",
    "evonas.workers.training": "evonas.workers.trial.training",
}
"""The module of today for each former one."""
RENAMED = {
    "evonas.candidate": {"Kind": "evonas.settings.candidate:OriginKind"},
    "evonas.comparison": {"compare": "evonas.reruns.baseline:baseline"},
    "evonas.layer": {
        "LayerFactory": "evonas.layers.layer_factory:LayerFactory",
        "AFFINE_ALONE": "evonas.layers.layer_factory:AFFINE_ALONE",
        "running_names": "evonas.layers.running_values:running_names",
    },
    "evonas.op": {"Op": "evonas.language.primitive:Primitive"},
    "evonas.ops": {"Op": "evonas.language.primitive:Primitive", "OPS": "evonas.language.primitive_table:PRIMITIVES"},
    "evonas.protocol": {"Protocol": "evonas.settings.evaluation_protocol:EvaluationProtocol"},
    "evonas.workers.distortion": {"Distortion": "evonas.workers.data.augmentation:Augmentation"},
}
"""Names in former modules that have another name or place today."""


class _Finder(MetaPathFinder):
    """Finds former modules; it is asked last, so that it hides no module that is there."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, _Alias(fullname)) if fullname in MOVED else None


class _Alias(Loader):
    """Gives the module of today in place of a former one."""

    def __init__(self, former: str) -> None:
        self._former = former

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module of today, with the former names in it."""
        today = MOVED[self._former]
        warn(f"{self._former} is now {today}", DeprecationWarning, stacklevel=2)
        module = import_module(today)
        self._spec = module.__spec__
        for name, place in RENAMED.get(self._former, {}).items():
            where, _, what = place.partition(":")
            setattr(module, name, getattr(import_module(where), what))
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do but to restore what the import system has replaced."""
        module.__spec__ = self._spec


def install() -> None:
    """Makes former names importable."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
