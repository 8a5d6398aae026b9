"""Which device computes, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from trialigngr.foundation.errors import RecipeError


def pick_device(name: str = "auto") -> torch.device:
    """Return the named device; ``auto`` takes CUDA, then MPS, then the CPU. Raises `RecipeError` if there is none."""
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, found in here.items() if found))
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RecipeError(f"There is no device {name!r}; use auto, cpu, cuda or mps.") from None
    if not here.get(device.type, True):
        raise RecipeError(f"This machine has no device {name!r}; use auto or cpu.")
    return device


def to_device(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on the device; to a GPU it travels while this process goes on."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@cache
def bf16_is_fast(device_type: str) -> bool:
    """Return whether bf16 matmuls are worth their rounding here (AMX or AVX512-bf16 on a CPU, native on a GPU)."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported()
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if device_type == "cpu" and cpuinfo.exists() else ""
    return "amx_bf16" in flags or "avx512_bf16" in flags


def autocast(device: torch.device, precision: str = "auto") -> AbstractContextManager[object]:
    """Return the context that runs matmuls in bf16 (``bf16``, or ``auto`` where it is fast), or changes nothing."""
    if precision == "bf16" or (precision == "auto" and bf16_is_fast(device.type)):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
