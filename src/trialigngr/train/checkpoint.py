"""Checkpoints in safetensors and JSON: written whole or not at all, the newest one is used, older ones are removed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trialigngr.foundation.artifact import write_text_atomically

_MOMENTS = ("exp_avg", "exp_avg_sq")


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trained parameters by name (tied ones once)."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the trained parameters to one safetensors file, atomically."""
    temporary = path.with_name(f"{path.name}.partial")
    save_file({name: parameter.detach().contiguous() for name, parameter in trainable(model).items()}, temporary)
    temporary.replace(path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Read what `save_weights` wrote into the model."""
    tensors = load_file(path)
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.copy_(tensors[name])


def save_checkpoint(
    folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Write ``folder/checkpoint-<step>`` and remove the older ones."""
    partial, final = folder / "checkpoint.partial", folder / f"checkpoint-{step:09d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tensors: dict[str, Tensor] = {}
    for name, parameter in trainable(model).items():
        tensors[f"weight.{name}"] = parameter.detach().contiguous()
        for moment in _MOMENTS:
            if moment in optimizer.state[parameter]:
                tensors[f"{moment}.{name}"] = optimizer.state[parameter][moment]
    save_file(tensors, partial / "state.safetensors")
    write_text_atomically(partial / "state.json", json.dumps({"step": step, **state}))
    partial.replace(final)
    for old in folder.glob("checkpoint-*"):
        if old != final:
            shutil.rmtree(old)


def load_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Put the newest whole checkpoint into model and optimizer and return its state; None when there is none."""
    found = sorted(folder.glob("checkpoint-*"))
    if not found:
        return None
    state: dict[str, Any] = json.loads((found[-1] / "state.json").read_text(encoding="utf-8"))
    tensors = load_file(found[-1] / "state.safetensors")
    for name, parameter in trainable(model).items():
        with torch.no_grad():
            parameter.copy_(tensors[f"weight.{name}"])
        moments = {moment: tensors[f"{moment}.{name}"] for moment in _MOMENTS if f"{moment}.{name}" in tensors}
        if moments:
            step = torch.tensor(float(state["step"]))
            optimizer.state[parameter] = {
                "step": step,
                **{key: value.to(parameter.device) for key, value in moments.items()},
            }
    return state
