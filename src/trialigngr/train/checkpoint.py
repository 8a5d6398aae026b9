"""Checkpoints in safetensors and JSON: written whole or not at all, the newest one is used, older ones are removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.files import remove_path, whole_file
from trialigngr.foundation.sealed import SEAL, array_hash, read_json, write_json
from trialigngr.train.sharding import shard_like, to_full_tensor

_BEST_FILE = "best.safetensors"
NO_TENSORS: Mapping[str, Tensor] = MappingProxyType({})


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trained parameters by name (tied ones once)."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def save_best(folder: Path, model: nn.Module) -> None:
    """Write the trained parameters as the best so far, atomically."""
    with whole_file(folder / _BEST_FILE) as half:
        _save_tensors({name: parameter.detach() for name, parameter in trainable_parameters(model).items()}, half)
        _sync_to_disk(half)


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors, and in the file's metadata their hash."""
    here = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    save_file(here, path, metadata={SEAL: _hash_tensors(here)})


def _load_tensors(path: Path) -> dict[str, Tensor]:
    """Return what `_save_tensors` wrote; raise `SafetensorError` or `ValueError` when it is not as it was written."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        written_hash = (file.metadata() or {}).get(SEAL)
    if written_hash != _hash_tensors(tensors):
        raise ValueError(f"{path} is not as it was written")
    return tensors


def _hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    return array_hash({name: tensor.reshape(-1).view(torch.uint8).numpy() for name, tensor in tensors.items()})


def load_best(folder: Path, model: nn.Module) -> None:
    """Put the best parameters so far into the model; leave it as it is when there are none.

    Raises `ArtifactError` when they are not as they were written.
    """
    if not (folder / _BEST_FILE).exists():
        return
    try:
        tensors = _load_tensors(folder / _BEST_FILE)
    except (ValueError, SafetensorError):
        raise ArtifactError(f"{folder / _BEST_FILE} is damaged; delete {folder} and run the recipe again.") from None
    with torch.no_grad():
        for name, parameter in trainable_parameters(model).items():
            parameter.copy_(tensors[name])


def remove_checkpoints(folder: Path) -> None:
    """Remove what only a training run that was broken off needs.

    The best weights go last: a checkpoint without them would be gone on with to other weights.
    """
    for checkpoint in folder.glob("checkpoint*"):
        remove_path(checkpoint)
    for best in folder.glob(f"{_BEST_FILE}*"):
        best.unlink()


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    ema: Mapping[str, Tensor] = NO_TENSORS,
    *,
    write: bool = True,
) -> None:
    """Write ``folder/checkpoint-<state["step"]>`` and remove the older ones. ``ema`` is by parameter name.

    Where weights lie in shares every worker has to call it, and one writes: the file is that of one process.
    """
    tensors = _collect_tensors(model, optimizer, ema, keep=write)
    if not write:
        return
    partial, final = folder / "checkpoint.partial", folder / f"checkpoint-{state['step']:09d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _save_tensors(tensors, partial / "state.safetensors")
    write_json(partial / "state.json", state, indent=None)
    for path in (partial / "state.safetensors", partial / "state.json", partial):
        _sync_to_disk(path)
    shutil.rmtree(final, ignore_errors=True)  # one that was not whole
    partial.replace(final)
    _sync_to_disk(folder)  # now a power cut leaves the new one, so the older ones may go
    for old in folder.glob("checkpoint-*"):
        if old != final:
            shutil.rmtree(old)


def _sync_to_disk(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _collect_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, ema: Mapping[str, Tensor], *, keep: bool
) -> dict[str, Tensor]:
    """Return weights, moments and averages, whole, by name; nothing unless they are to be kept."""
    found = {f"average.{name}": value for name, value in ema.items()}
    for name, parameter in trainable_parameters(model).items():
        found[f"weight.{name}"] = parameter.detach()
        found |= {f"{key}.{name}": value for key, value in optimizer.state[parameter].items()}
    tensors: dict[str, Tensor] = {}
    for name, value in found.items():
        tensor = to_full_tensor(value)
        if keep:
            tensors[name] = tensor
    return tensors


def load_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ema: Mapping[str, Tensor] = NO_TENSORS
) -> dict[str, Any] | None:
    """Put the newest whole checkpoint into model, optimizer and average, and return its state; None without one.

    Raises `ArtifactError` for a checkpoint of another model.
    """
    for checkpoint in sorted(folder.glob("checkpoint-*"), reverse=True):
        try:
            state = read_json(checkpoint / "state.json", "it is left aside.")
            tensors = _load_tensors(checkpoint / "state.safetensors")
        except (OSError, ValueError, SafetensorError, ArtifactError):
            log(f"  {checkpoint.name} is not whole and is left aside")
            continue
        _check_same_model(checkpoint, tensors, trainable_parameters(model))
        _restore_state(tensors, model, optimizer, ema)
        return {name: value for name, value in state.items() if name != SEAL}
    return None


def _check_same_model(checkpoint: Path, tensors: dict[str, Tensor], parameters: dict[str, nn.Parameter]) -> None:
    kept = {key.removeprefix("weight."): tuple(value.shape) for key, value in tensors.items() if key[:7] == "weight."}
    own = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    if differ := sorted(name for name in {*kept, *own} if kept.get(name) != own.get(name)):
        raise ArtifactError(
            f"{checkpoint} is of another model: {differ[0]} is {kept.get(differ[0], 'missing')} there and "
            f"{own.get(differ[0], 'missing')} here. Delete {checkpoint.parent} to train from the beginning."
        )


def _restore_state(
    tensors: dict[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer, ema: Mapping[str, Tensor]
) -> None:
    parameters = trainable_parameters(model)
    for key, value in tensors.items():
        what, name = key.split(".", 1)
        parameter = parameters[name]
        if what == "weight":
            with torch.no_grad():
                parameter.copy_(shard_like(value, parameter))
        elif what == "average":
            ema[name].copy_(shard_like(value, parameter))
        else:
            optimizer.state[parameter][what] = shard_like(value, parameter)
