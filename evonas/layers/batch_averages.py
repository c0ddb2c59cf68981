"""Running values of a whole model at once: averaging them anew, and keeping them the same in several processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

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
    layers = [m for m in model.modules() if isinstance(m, NormAct | _BatchNorm)]
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
