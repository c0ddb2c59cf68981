"""evonas: evolve the normalisation-activation layer that suits your network, batch size and hardware.

    import evonas

    layer = evonas.NormAct("evonorm-s0", channels=64)      # a published layer, an expression or a graph
    found = evonas.search(budget=200)                      # evolve layers on this machine
    print(found)

`import evonas` loads nothing else: each name is imported when it is first used, and PyTorch, Ray, SQLAlchemy and pymoo
with those that need them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evonas.api import Result, resume, search
    from evonas.comparison import Comparison, compare
    from evonas.config import RunConfig
    from evonas.errors import EvonasError, GraphError, StorageError, UsageError
    from evonas.graph import Graph
    from evonas.layer import LayerFactory, NormAct
    from evonas.norm_layers import norm_layer
    from evonas.protocol import Protocol
    from evonas.published import zoo
    from evonas.ranking import Ranking
    from evonas.reranking import rerank
    from evonas.space import SearchSpace
    from evonas.swap_report import SwapReport
    from evonas.swapping import swap
    from evonas.transferring import transfer

__all__ = [
    "Comparison",
    "EvonasError",
    "Graph",
    "GraphError",
    "LayerFactory",
    "NormAct",
    "Protocol",
    "Ranking",
    "Result",
    "RunConfig",
    "SearchSpace",
    "StorageError",
    "SwapReport",
    "UsageError",
    "compare",
    "norm_layer",
    "rerank",
    "resume",
    "search",
    "swap",
    "transfer",
    "zoo",
]

__version__ = "0.1.0"

_FROM = {
    "Comparison": "evonas.comparison",
    "EvonasError": "evonas.errors",
    "Graph": "evonas.graph",
    "GraphError": "evonas.errors",
    "LayerFactory": "evonas.layer",
    "NormAct": "evonas.layer",
    "Protocol": "evonas.protocol",
    "Ranking": "evonas.ranking",
    "Result": "evonas.api",
    "RunConfig": "evonas.config",
    "SearchSpace": "evonas.space",
    "StorageError": "evonas.errors",
    "SwapReport": "evonas.swap_report",
    "UsageError": "evonas.errors",
    "compare": "evonas.comparison",
    "norm_layer": "evonas.norm_layers",
    "rerank": "evonas.reranking",
    "resume": "evonas.api",
    "search": "evonas.api",
    "swap": "evonas.swapping",
    "transfer": "evonas.transferring",
    "zoo": "evonas.published",
}
"""The module of each name."""


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module 'evonas' has no attribute {name!r}")
    # A name may also be that of a module, which importing it puts in its place.
    value = globals()[name] = getattr(import_module(_FROM[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
