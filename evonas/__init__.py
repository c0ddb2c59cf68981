"""evonas: evolve the normalisation-activation layer that suits your network, batch size and hardware.

    import evonas

    layer = evonas.NormAct("evonorm-s0", channels=64)      # a published layer, an expression or a graph
    found = evonas.search(budget=200)                      # evolve layers on this machine
    print(found)

`import evonas` loads PyTorch and NumPy; Ray, SQLAlchemy and pymoo are loaded by the calls that use them.
"""

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
from evonas.swap import swap
from evonas.swap_report import SwapReport
from evonas.transfer import transfer

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
