"""Running values of a whole model at once: averaged anew, mixed with those of other data, shared by processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from evonas.errors import UsageError, shorten
from evonas.layers.norm_act import NormAct
from evonas.layers.synchronised import WORLD


def convert_sync_batchnorm(model: nn.Module, process_group: Any = None) -> nn.Module:
    """Has a model take its statistics over the batch from all processes, its BatchNorms and its `NormAct`s.

    Layers are changed in place, and computed by the reference in training, since kernels do not communicate. BatchNorms
    are replaced as `nn.SyncBatchNorm.convert_sync_batchnorm` does it. Call this before DistributedDataParallel.

    Args:
        model: any module.
        process_group: the processes that share statistics; all of them if None.

    Returns:
        The model, which is another object if it is itself a BatchNorm.
    """
    for module in model.modules():
        if isinstance(module, NormAct):
            module.process_group = WORLD if process_group is None else process_group
    return nn.SyncBatchNorm.convert_sync_batchnorm(model, process_group)  # type: ignore[no-any-return]  # torch leaves it untyped


@torch.no_grad()
def update_bn(loader: Iterable[Any], model: nn.Module, device: torch.device | str | None = None) -> None:
    """Averages the running values of a model anew over batches, in training mode, as after weight averaging.

    `torch.optim.swa_utils.update_bn` does so for BatchNorms alone.

    Args:
        loader: batches: tensors, or lists, tuples or mappings of which the first entry is the input of the model.
        model: any module; its parameters, its mode and the momenta of its layers stay.
        device: where to move inputs; nowhere if None.
    """
    layers = _with_running_values(model)
    momenta = {layer: layer.momentum for layer in layers}
    modes = {module: module.training for module in model.modules()}
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    model.train()
    try:
        for batch in loader:
            first: Any = batch
            if isinstance(batch, Mapping):
                first = next(iter(batch.values()))
            elif isinstance(batch, list | tuple):
                first = batch[0]
            model(first if device is None else first.to(device))
    finally:
        for layer, momentum in momenta.items():
            layer.momentum = momentum
        for module, training in modes.items():
            module.training = training


@torch.no_grad()
def calibrate(
    model: nn.Module, loader: Iterable[Any], mix: float = 0.1, device: torch.device | str | None = None
) -> None:
    """Mixes the running values of a model with those of other data, such as that of another camera or hospital.

    Each becomes (1 − mix) times what it was and mix times its average over the batches, as α-BN has it (You, Li and
    Zhao 2021, "Test-time Batch Statistics Calibration for Covariate Shift"; their α is 1 − mix). The averages are those
    of `update_bn`: taken in training mode, so that a layer sees what the layers before it make of the new data alone.
    With mix = 1 the two are the same, as after weight averaging. Layers that see no batch in training mode, as in a
    branch that is not taken or frozen by the model, stay as they are.

    Args:
        model: any module; its parameters, its mode and the momenta of its layers stay.
        loader: unlabelled batches, as `update_bn` takes them.
        mix: the weight of the new data, from 0 to 1.
        device: where to move inputs; nowhere if None.

    Raises:
        UsageError: for a weight out of range, or if no layer saw a batch. Then, and if the model raises an exception,
            all running values are as before.
    """
    if not (isinstance(mix, int | float) and 0.0 <= mix <= 1.0):
        raise UsageError(f"mix must be a number from 0 to 1, not {shorten(mix)}")
    layers = _with_running_values(model)
    before = {layer: [(buffer, buffer.clone()) for buffer in layer.buffers(False)] for layer in layers}
    saw, averaged = set[nn.Module](), False
    hooks = [layer.register_forward_hook(lambda one, *_: saw.add(one) if one.training else None) for layer in layers]
    try:
        update_bn(loader, model, device)
        averaged = True
    finally:
        for hook in hooks:
            hook.remove()
        for layer, buffers in before.items():
            weight = mix if averaged and layer in saw else 0.0
            for buffer, old in buffers:
                if not buffer.is_floating_point():  # the number of batches that a BatchNorm saw in training
                    buffer.copy_(old)
                elif weight < 1.0:
                    buffer.copy_(old if weight == 0.0 else old.lerp(buffer, weight))
    if not saw:
        raise UsageError("no layer with running values saw a batch: is the loader empty, or are the layers frozen?")


def _with_running_values(model: nn.Module) -> list[NormAct | _BatchNorm]:
    """The layers of a model that may have running values."""
    return [module for module in model.modules() if isinstance(module, NormAct | _BatchNorm)]
