"""Checks whether everything that evonas needs works on this machine."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from evonas.records.environment import NOT_INSTALLED, processor, usable_cores, version_of


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: what was checked.
        ok: whether it works.
        found: what was found, or what is wrong and what to do.
    """

    name: str
    ok: bool
    found: str


def examine() -> list[Check]:
    """Checks versions, hardware, layers, kernels, data, database and Ray by using each of them."""
    return [
        _try(name, check)
        for name, check in (
            ("python", platform.python_version),
            ("packages", _packages),
            ("processor", lambda: f"{processor()}, {usable_cores()} cores"),
            ("accelerator", _accelerator),
            ("layer", _layer),
            ("kernels", _kernels),
            ("compiler", _compiler),
            ("data", _data),
            ("database", _database),
            ("ray", _ray),
        )
    ]


def _try(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except ModuleNotFoundError as error:
        return Check(name, False, f"needs the package {(error.name or '').partition('.')[0]}, which is not installed")
    except Exception as error:  # whatever is wrong with the machine is to be reported
        return Check(name, False, f"{type(error).__name__}: {error}".splitlines()[0])


def _packages() -> str:
    names = ("evonas", "torch", "numpy", "networkx", "pymoo", "sqlalchemy", "alembic", "ray")
    versions = {name: version_of(name) for name in names}
    missing = [name for name, version in versions.items() if version == NOT_INSTALLED]
    if missing:
        raise RuntimeError(f"not installed: {', '.join(missing)}; install them with `pip install evonas`")
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _accelerator() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none; training runs on the CPU"
    return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def _layer() -> str:
    import torch

    from evonas.layers.norm_act import NormAct

    x = torch.randn(4, 8, 6, 6, requires_grad=True)
    y = NormAct("evonorm-b0", 8)(x)
    y.square().sum().backward()
    if x.grad is None or not bool(x.grad.isfinite().all()):
        raise RuntimeError("EvoNorm-B0 gave no finite gradient")
    return "EvoNorm-B0 runs forward and backward"


def _kernels() -> str:
    """Compares Triton kernels with the reference if there is a GPU; a machine without one passes."""
    import torch

    from evonas.layers.backend import has_triton
    from evonas.layers.norm_act import NormAct

    if not has_triton():
        return "triton is not installed; layers on a GPU are computed by the reference"
    version = version_of("triton")
    if not torch.cuda.is_available():
        return f"triton {version}; its kernels are not used, because there is no GPU"
    x = torch.randn(4, 8, 6, 6, device="cuda")
    layer = NormAct("evonorm-s0", 8, backend="triton", device="cuda")
    reference = NormAct("evonorm-s0", 8, backend="reference", device="cuda")
    difference = float((layer(x) - reference(x)).abs().max())
    if not difference < 1e-4:
        raise RuntimeError(f"kernels and reference differ by {difference:.2g} on EvoNorm-S0")
    return f"triton {version}; kernels agree with the reference"


def _compiler() -> str:
    """Compares C++ kernels with the reference if there is a compiler; a machine without one passes, but is slower."""
    import torch

    from evonas.kernels.cpp.build import compiler, trouble
    from evonas.kernels.cpp.calls import build_calls
    from evonas.layers.norm_act import NormAct

    if problem := trouble():
        return f"{problem}; layers on a CPU are computed by the reference, at a fifth of the speed"
    x = torch.randn(4, 8, 6, 6)
    layer, reference = (NormAct("evonorm-s0", 8, backend=backend) for backend in ("cpp", "reference"))
    difference = float((layer(x) - reference(x)).detach().abs().max())
    if not difference < 1e-4:
        raise RuntimeError(f"C++ kernels and reference differ by {difference:.2g} on EvoNorm-S0")
    slow = build_calls()
    calls = f"; they are called from Python, which is slower on small tensors: {slow}" if slow else ""
    return f"{compiler()}; C++ kernels agree with the reference{calls}"


def _data() -> str:
    from evonas.workers.data.data_sets import load_dataset

    data = load_dataset("digits")
    return f"digits: {len(data.train)} training, {len(data.validation)} validation, {len(data.test)} test images"


def _database() -> str:
    from evonas.settings.run_config import RunConfig
    from evonas.setup.assemble import named_space, open_storage

    with tempfile.TemporaryDirectory() as folder, open_storage(Path(folder) / "doctor.db") as store:
        run = store.create_run(RunConfig(named_space("evonorm")), {})
        if store.run(run.id).config != run.config:
            raise RuntimeError("a run that was read back differs from what was written")
    return "SQLite writes and reads back"


def _ray() -> str:
    from evonas.evolution.executor import published_task
    from evonas.settings.evaluation_protocol import EvaluationProtocol
    from evonas.workers.data.data_sets import load_dataset
    from evonas.workers.executors.ray_executor import RayExecutor

    tiny = EvaluationProtocol(anchors=("resnet-small",), steps=2)
    with RayExecutor(load_dataset("digits"), workers=1) as executor:
        executor.submit(published_task("evonorm-s0", 0, 1, tiny))
        give_up = monotonic() + 120
        while monotonic() < give_up:
            for evaluation in executor.poll(1.0):
                if evaluation.reason:
                    raise RuntimeError(evaluation.reason)
                return f"a worker trained a network; dashboard {executor.dashboard or 'not installed'}"
    raise RuntimeError("no worker answered within two minutes")
