"""evonas: evolve the normalisation-activation layer that suits your network, batch size and hardware.

    from evonas import NormAct, search

    layer = NormAct("evonorm-s0", channels=64)      # a published layer, an expression or a graph
    found = search(budget=200)                      # evolve layers on this machine
    print(found)

`import evonas` alone loads nothing. Each name is imported when it is first used, together with those of PyTorch, Ray,
SQLAlchemy and pymoo that it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any
from warnings import warn

from evonas import moved_modules

if TYPE_CHECKING:
    from evonas.errors import EvonasError, GraphError, StorageError, UsageError
    from evonas.front.api import resume, search
    from evonas.front.result import Result
    from evonas.language.graph import Graph
    from evonas.language.zoo import zoo
    from evonas.layers.add_norm import AddNorm
    from evonas.layers.batch_averages import calibrate, convert_sync_batchnorm, update_bn
    from evonas.layers.layer_factory import LayerFactory
    from evonas.layers.norm_act import NormAct
    from evonas.layers.norm_layers import norm_layer
    from evonas.reruns.baseline import Comparison, baseline
    from evonas.reruns.ranking import Ranking
    from evonas.reruns.reranking import rerank
    from evonas.reruns.task_transfer import transfer
    from evonas.reruns.verdict import Verdict
    from evonas.settings.evaluation_protocol import EvaluationProtocol
    from evonas.settings.run_config import RunConfig
    from evonas.settings.search_space import SearchSpace
    from evonas.swapping.swap import swap
    from evonas.swapping.swap_report import SwapReport

__all__ = [
    "AddNorm",
    "Comparison",
    "EvaluationProtocol",
    "EvonasError",
    "Graph",
    "GraphError",
    "LayerFactory",
    "NormAct",
    "Ranking",
    "Result",
    "RunConfig",
    "SearchSpace",
    "StorageError",
    "SwapReport",
    "UsageError",
    "Verdict",
    "baseline",
    "calibrate",
    "convert_sync_batchnorm",
    "norm_layer",
    "rerank",
    "resume",
    "search",
    "swap",
    "transfer",
    "update_bn",
    "zoo",
]

moved_modules.install()

__version__ = "0.1.0"

_FROM = {
    "AddNorm": "evonas.layers.add_norm",
    "Comparison": "evonas.reruns.baseline",
    "EvaluationProtocol": "evonas.settings.evaluation_protocol",
    "EvonasError": "evonas.errors",
    "Graph": "evonas.language.graph",
    "GraphError": "evonas.errors",
    "LayerFactory": "evonas.layers.layer_factory",
    "NormAct": "evonas.layers.norm_act",
    "Ranking": "evonas.reruns.ranking",
    "Result": "evonas.front.result",
    "RunConfig": "evonas.settings.run_config",
    "SearchSpace": "evonas.settings.search_space",
    "StorageError": "evonas.errors",
    "SwapReport": "evonas.swapping.swap_report",
    "UsageError": "evonas.errors",
    "Verdict": "evonas.reruns.verdict",
    "baseline": "evonas.reruns.baseline",
    "calibrate": "evonas.layers.batch_averages",
    "convert_sync_batchnorm": "evonas.layers.batch_averages",
    "norm_layer": "evonas.layers.norm_layers",
    "rerank": "evonas.reruns.reranking",
    "resume": "evonas.front.api",
    "search": "evonas.front.api",
    "swap": "evonas.swapping.swap",
    "transfer": "evonas.reruns.task_transfer",
    "update_bn": "evonas.layers.batch_averages",
    "zoo": "evonas.language.zoo",
}
"""The module that defines each public name."""
_DEPRECATED = {"Protocol": "EvaluationProtocol", "compare": "baseline"}
"""Former names and their replacements: Python has a `Protocol` too, and the command `compare` compares runs."""


def __getattr__(name: str) -> Any:
    if name in _DEPRECATED:
        warn(f"evonas.{name} is deprecated: use evonas.{_DEPRECATED[name]}", DeprecationWarning, stacklevel=2)
        name = _DEPRECATED[name]
    if name not in _FROM:
        raise AttributeError(f"module 'evonas' has no attribute {name!r}")
    # Importing a module of the same name would otherwise replace the value.
    value = globals()[name] = getattr(import_module(_FROM[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
