"""Weights in shares: each worker holds a part of every parameter, its gradient and its moments (FSDP, ZeRO stage 3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from trialigngr.foundation.errors import RecipeError
from trialigngr.models.layers import find_layers
from trialigngr.train.loss import TargetLosses
from trialigngr.train.process_group import ProcessGroup


def shard_losses(losses: TargetLosses, device: torch.device, process_group: ProcessGroup) -> TargetLosses:
    """Return the losses with every parameter in shares; a layer is whole only while it computes (Zhao et al. 2023).

    The first worker keeps the given model as it is, in the memory of the CPU, for what is validated and written.
    Raises `RecipeError` when there is one process alone, or the model has no list of layers.
    """
    if process_group.world_size == 1:
        raise RecipeError("train.fsdp shares the weights among processes, and there is one; start it with torchrun.")
    mesh = init_device_mesh(device.type, (process_group.world_size,))
    shared = deepcopy(losses) if process_group.is_main_process else losses
    for layer in find_layers(shared.model, "train.fsdp"):
        fully_shard(layer, mesh=mesh)
    fully_shard(shared, mesh=mesh)
    return shared


def to_full_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor with all its shares, on the CPU if it had some; every worker has to ask."""
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a whole tensor as this worker's share of it where the parameter is one; a mere count stays as it is."""
    tensor = tensor.to(parameter.device)
    if isinstance(parameter, DTensor) and tensor.shape == parameter.shape:
        return distribute_tensor(tensor, parameter.device_mesh, parameter.placements)
    return tensor


@contextmanager
def gather_weights(parameters: dict[str, nn.Parameter], model: Any, device: torch.device) -> Iterator[None]:
    """Let the whole ``model`` (None where this worker has none) have the shares' values, on the device, for a while.

    Every worker has to take part. Parameters that are whole are in the model already.
    """
    shares = {name: parameter for name, parameter in parameters.items() if isinstance(parameter, DTensor)}
    mine = {} if model is None else dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in shares.items():
            value = to_full_tensor(parameter)
            if name in mine:
                mine[name].copy_(value)
    if shares and model is not None:
        model.to(device)
    yield
    if shares and model is not None:
        model.to("cpu")
