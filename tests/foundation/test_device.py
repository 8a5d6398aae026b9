"""Where and how exactly is computed."""

from __future__ import annotations

import pytest
import torch

from trialigngr.foundation.device import autocast, pick_device
from trialigngr.foundation.errors import RecipeError


def test_the_best_device_here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device() == torch.device("cpu")
    with pytest.raises(RecipeError, match="This machine has no device 'cuda:0'"):
        pick_device("cuda:0")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device() == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device() == torch.device("cuda")
    assert pick_device("cpu") == torch.device("cpu")


def test_a_device_that_is_none():
    with pytest.raises(RecipeError, match="no device 'gpu'"):
        pick_device("gpu")


def test_precision_of_matmuls():
    left = torch.full((2, 2), 1.001)
    with autocast(torch.device("cpu"), "fp32"):
        assert (left @ left).dtype == torch.float32
    with autocast(torch.device("cpu"), "bf16"):
        assert (left @ left).dtype == torch.bfloat16
