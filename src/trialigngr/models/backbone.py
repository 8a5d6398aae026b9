"""`Backbone`: a causal language model and its tokenizer, with the SID tokens in the vocabulary."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.utils.logging import disable_progress_bar

from trialigngr.foundation.artifact import MANIFEST_FILE, TELLING, check_file, check_stage
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.files import whole_file
from trialigngr.foundation.hub import load_tokenizer, reason_of
from trialigngr.models.item_layer import ItemLayer

ITEMS_FILE = "items.safetensors"
"""Beside a checkpoint whose model knows items by vectors of their own."""


@dataclass(frozen=True)
class Backbone:
    """``model`` is a `transformers` causal LM; ``sid_token_ids`` are the token ids of all SID tokens, level by
    level."""

    model: Any
    tokenizer: Any
    sid_token_ids: list[int]
    peft_model: Any = None
    """The `PeftModel` around the model while LoRA is in it."""
    items: ItemLayer | None = None
    """Vectors of items beside their tokens."""

    @property
    def trained_module(self) -> nn.Module:
        """What holds all that is trained: the model itself, or model and item vectors."""
        if self.items is None:
            model: nn.Module = self.model
            return model
        return nn.ModuleDict({"model": self.model, "item_layer": self.items})

    def prepare_inference(self, device: torch.device) -> None:
        """Put everything on a device, without dropout."""
        self.trained_module.to(device).eval()

    def save(self, folder: Path) -> None:
        """Write a checkpoint that ``AutoModelForCausalLM`` and ``AutoTokenizer`` open, and item vectors beside it; LoRA
        is merged for good.

        How the model that training began with liked to sample is left out: a server would go by it.
        """
        if self.peft_model is not None:
            self.peft_model.merge_and_unload()
        ends = self.model.generation_config
        self.model.generation_config = GenerationConfig(
            bos_token_id=ends.bos_token_id, eos_token_id=ends.eos_token_id, pad_token_id=ends.pad_token_id
        )
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        if self.items is not None:
            with whole_file(folder / ITEMS_FILE) as half:
                save_file(self.items.state_dict(), half)
        for path in folder.glob("*.safetensors"):  # which are written for their owner alone
            path.chmod((folder / "config.json").stat().st_mode & 0o777)


def load_backbone(folder: Path, sid_tokens: Sequence[str]) -> Backbone:
    """Open a checkpoint; raise `ArtifactError` when its vocabulary does not hold these SID tokens, or when the stage
    that it is has been damaged."""
    if (folder / MANIFEST_FILE).is_file():
        check_stage(folder, but=TELLING)
    if not (folder / "config.json").is_file():
        raise ArtifactError(f"{folder} holds no model (no config.json); run the recipe to train one.")
    if not sys.stderr.isatty():
        disable_progress_bar()
    with _translate_load_errors(folder):
        tokenizer = load_tokenizer(folder)
    vocabulary = tokenizer.get_vocab()
    if missing := [token for token in sid_tokens if token not in vocabulary]:
        raise ArtifactError(
            f"The model in {folder} does not know {len(missing)} SID tokens, for example {missing[0]}: "
            "model and SIDs are of different runs. Run the recipe again to train on these SIDs."
        )
    with _translate_load_errors(folder):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    return Backbone(model, tokenizer, [vocabulary[token] for token in sid_tokens])


def load_items(folder: Path, items: ItemLayer) -> ItemLayer:
    """Return item vectors as they were trained, in the place of those of ``items``; raise `ArtifactError` when there
    are none of this shape."""
    path = check_file(folder / ITEMS_FILE)
    try:
        items.load_state_dict(load_file(path), assign=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(
            f"{path} holds no item vectors of this catalogue and model ({reason_of(error)}); run the recipe again."
        ) from None
    return items


@contextmanager
def _translate_load_errors(folder: Path) -> Iterator[None]:
    """Say what is wrong with a checkpoint as an `ArtifactError`."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = reason_of(error)
        raise ArtifactError(f"The model in {folder} cannot be opened: {reason}. Run the recipe again.") from None


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Return how many parameters there are, and how many of them are trained."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {"parameters": sum(n for n, _ in sizes), "trained": sum(n for n, trained in sizes if trained)}
