"""What becomes of one model: pairs found and missed, values, and two steps of training."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

import evonas
from benchmarks.models.model_list import ModelRow
from benchmarks.models.truth import pairs
from evonas.layers.norm_act import NormAct
from evonas.swapping.op_kinds import NORMS

SAME = 1e-6
"""The largest difference of outputs in float64, relative to the largest output, that counts as none: the layer computes
the same values in another order, and deep networks without training magnify 1e-16 by some powers of ten."""
_STATISTICS = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row of the table.

    Attributes:
        library, model: as in `ModelRow`.
        norms: the normalisations of channels in the model.
        expected: those that form a pair with an activation.
        found: those of the expected that `swap` replaces.
        wrong: the names of others that it replaces, apart from those that the model never runs.
        missed: the names of the expected that it keeps, each with the reason.
        same: whether BN-ReLU in place of every BatchNorm with a ReLU leaves the outputs, in training mode and after it
            in evaluation; None where there is no such pair.
        difference: the largest difference, relative to the largest output.
        trains: whether two steps with EvoNorm-S0 in all pairs leave a finite loss and change the weights.
        error: why the model could not be judged; empty if it was.
    """

    library: str
    model: str
    norms: int = 0
    expected: int = 0
    found: int = 0
    wrong: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    same: bool | None = None
    difference: float | None = None
    trains: bool | None = None
    error: str = ""


def judge(row: ModelRow) -> Outcome:
    """Build, run, swap, compare and train a model. What it raises is part of the outcome."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _judged(row)
    except Exception as error:  # whatever a library or `swap` raises: the table says so
        text = str(error).splitlines() or [""]
        return Outcome(row.library, row.name, error=f"{type(error).__name__}: {text[0][:200]}")


def _judged(row: ModelRow) -> Outcome:
    torch.manual_seed(0)
    original, x = _without_chance(row.build()), row.values(*row.shape)
    ran = pairs(copy.deepcopy(original).train(), x)
    true = {name: pair for name, pair in ran.items() if pair is not None}
    norms = sum(isinstance(module, NORMS) for module in original.modules())
    swapped = copy.deepcopy(original).train()
    report = evonas.swap(swapped, "evonorm-s0")
    replaced = {outcome.name for outcome in report.replaced}
    kept = {outcome.name: outcome.reason for outcome in report.kept}
    difference = _difference(original, {name for name, pair in true.items() if pair == ("batch_norm", "relu")}, x)
    return Outcome(
        row.library,
        row.name,
        norms,
        len(true),
        len(replaced & true.keys()),
        tuple(sorted((replaced & ran.keys()) - true.keys())),
        tuple(f"{name}: {kept.get(name, 'not in the report')}" for name in sorted(true.keys() - replaced)),
        None if difference is None else difference <= SAME,
        difference,
        _trains(swapped, x),
    )


def _without_chance(model: nn.Module) -> nn.Module:
    """The model without dropout and without statistics of different lengths, so that two runs are the same."""
    for module in model.modules():
        for name in ("p", "drop_prob"):  # of dropouts and of stochastic depth
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


def _difference(original: nn.Module, names: set[str], x: Tensor) -> float | None:
    """How far outputs are apart with BN-ReLU in place of each BatchNorm with a ReLU."""
    if not names:
        return None
    model = copy.deepcopy(original).double().train()
    for name, module in model.named_modules():
        if name in names and isinstance(module, _STATISTICS) and module.affine:  # of a trained model, not 0 and 1
            generator = torch.Generator().manual_seed(len(name))
            module.weight.data = 0.5 + torch.rand(module.weight.shape, generator=generator, dtype=torch.float64)
            module.bias.data = torch.randn(module.bias.shape, generator=generator, dtype=torch.float64)
    swapped = copy.deepcopy(model)
    report = evonas.swap(swapped, "bn-relu", include=sorted(names))
    modules, layers = dict(model.named_modules()), dict(swapped.named_modules())
    for outcome in report.replaced:
        norm, layer = modules[outcome.name], layers[outcome.name]
        assert isinstance(layer, NormAct)
        if getattr(norm, "affine", False):  # in BN-ReLU they are v1 and v0, inside the maximum
            layer.v1.data, layer.v0.data = norm.weight.data.clone(), norm.bias.data.clone()  # type: ignore[union-attr]
    worst = 0.0
    for training in (True, False):
        outputs = []
        for one in (model, swapped):
            torch.manual_seed(0)
            with torch.no_grad():
                outputs.append(list(_tensors(one.train(training)(x.double()))))
        for before, after in zip(*outputs, strict=True):
            size = float(before.abs().max()) or 1.0
            worst = max(worst, float((before - after).abs().max()) / size)
    return worst


def _trains(model: nn.Module, x: Tensor) -> bool:
    weights = [p for p in model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in weights]
    optimizer = torch.optim.SGD(weights, lr=1e-4)
    for _ in range(2):
        loss = torch.stack([out.square().mean() for out in _tensors(model(x)) if out.is_floating_point()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    changed = any(not torch.equal(old, new.detach()) for old, new in zip(before, weights, strict=True))
    return changed and bool(torch.isfinite(loss))


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in what a model returns."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _tensors(list(asdict(value).values()))
