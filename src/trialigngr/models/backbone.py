"""`Backbone`: a causal language model and its tokenizer, with the SID tokens in the vocabulary."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM
from transformers.utils.logging import disable_progress_bar

from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import ArtifactError, RecipeError
from trialigngr.foundation.seeds import child
from trialigngr.models.tokenizer import add_sid_tokens, train_tokenizer


class BackboneSettings(Settings):
    """Which language model writes the SIDs."""

    name: str = "scratch"
    """``scratch`` builds a small Qwen2; anything else is a Hugging Face causal language model, by name or folder."""
    layers: int = Field(4, ge=1)
    """Layers of a model from scratch (the next four settings likewise)."""
    width: int = Field(256, ge=2)
    """Hidden dimension."""
    heads: int = Field(4, ge=1)
    """Attention heads."""
    feed_forward: int = Field(1024, ge=1)
    """Inner dimension of the feed-forward blocks."""
    vocabulary: int = Field(4096, ge=256)
    """Words of the BPE trained on the catalogue's text."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the embeddings and on what each attention and feed-forward block adds, in training only."""


@dataclass(frozen=True)
class Backbone:
    """``model`` is a `transformers` causal LM; ``sid_ids`` are the token ids of all SID tokens, level by level."""

    model: Any
    tokenizer: Any
    sid_ids: list[int]

    def save(self, folder: Path) -> None:
        """Write a checkpoint that ``AutoModelForCausalLM`` and ``AutoTokenizer`` open."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def load_backbone(folder: Path, sid_tokens: Sequence[str]) -> Backbone:
    """Open a checkpoint; raise `ArtifactError` when its vocabulary does not hold these SID tokens."""
    if not (folder / "config.json").is_file():
        raise ArtifactError(f"{folder} holds no model (no config.json); run the recipe to train one.")
    if not sys.stderr.isatty():
        disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    vocabulary = tokenizer.get_vocab()
    if missing := [token for token in sid_tokens if token not in vocabulary]:
        raise ArtifactError(
            f"The model in {folder} does not know {len(missing)} SID tokens, for example {missing[0]}: "
            "model and SIDs are of different runs. Run the recipe again to train on these SIDs."
        )
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return Backbone(model, tokenizer, [vocabulary[token] for token in sid_tokens])


def build_backbone(settings: BackboneSettings, sid_tokens: Sequence[str], texts: Iterable[str], seed: int) -> Backbone:
    """Return the model to be trained: from scratch on a BPE of ``texts``, or a pretrained one with new SID rows."""
    torch.manual_seed(child(seed, "backbone"))
    if settings.name == "scratch":
        backbone = _from_scratch(settings, sid_tokens, texts)
    else:
        backbone = _pretrained(settings.name, sid_tokens)
    if settings.dropout:
        add_dropout(backbone.model, settings.dropout)
    return backbone


def _from_scratch(settings: BackboneSettings, sid_tokens: Sequence[str], texts: Iterable[str]) -> Backbone:
    if settings.width % (2 * settings.heads):
        raise RecipeError(
            f"model.width = {settings.width} cannot be shared by {settings.heads} heads; "
            f"make it a multiple of {2 * settings.heads} (each head turns pairs of dimensions)."
        )
    tokenizer = train_tokenizer(texts, settings.vocabulary)
    sid_ids = add_sid_tokens(tokenizer, sid_tokens)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=settings.feed_forward,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = Qwen2ForCausalLM(config)
    # Measured (docs/log.md): at the 0.02 of large models the first layers drown the token, and training hardly starts.
    nn.init.normal_(model.get_input_embeddings().weight, std=settings.width**-0.5)
    return Backbone(model, tokenizer, sid_ids)


def _pretrained(name: str, sid_tokens: Sequence[str]) -> Backbone:
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    except (OSError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise RecipeError(
            f"model.name = {name!r} cannot be loaded ({reason}); give a hub name or a folder of a causal LM."
        ) from None
    before = len(tokenizer)
    sid_ids = add_sid_tokens(tokenizer, sid_tokens)
    _new_rows(model, before, len(tokenizer))
    return Backbone(model, tokenizer, sid_ids)


def _new_rows(model: Any, before: int, after: int) -> None:
    """Give rows ``before … after`` the mean of the old rows and a little noise, in and out."""
    if after > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(after, mean_resizing=False)
    seen: set[int] = set()
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        weight_VD = layer.weight
        if weight_VD.data_ptr() in seen:
            continue
        seen.add(weight_VD.data_ptr())
        with torch.no_grad():
            old = weight_VD[:before]
            noise = torch.randn(after - before, old.shape[1], dtype=old.dtype) * old.std(0) * 0.1
            weight_VD[before:after] = old.mean(0) + noise


def add_dropout(model: nn.Module, rate: float) -> None:
    """Drop from the embeddings and from what every attention and feed-forward block adds (Vaswani et al. 2017, 5.4).

    Done by hooks, so that the saved checkpoint is a plain model of its class.
    """

    def drop(module: nn.Module, _inputs: object, output: Any) -> Any:
        if not module.training:
            return output
        if isinstance(output, tuple):
            return (_dropped(output[0], rate), *output[1:])
        return _dropped(output, rate)

    for name, module in model.named_modules():
        if name.rsplit(".", 1)[-1] in ("embed_tokens", "self_attn", "mlp"):
            module.register_forward_hook(drop)


def _dropped(values: Tensor, rate: float) -> Tensor:
    """Return the values with each dropped at ``rate`` and the rest scaled up.

    On a CPU the coins are bytes of a NumPy generator (the rate in steps of 1/256), ten times faster than torch's there.
    Its seed comes from torch's generator, so a seeded step drops the same values again.
    """
    if values.device.type != "cpu":
        return nn.functional.dropout(values, rate)
    seed = int(torch.randint(1 << 62, ()).item())
    coins = np.frombuffer(np.random.Generator(np.random.SFC64(seed)).bytes(values.numel()), dtype=np.uint8)
    dropped = round(rate * 256)
    keep = torch.from_numpy(coins >= dropped).view(values.shape)
    return values * keep.to(values.dtype).mul_(256 / (256 - dropped))


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Return how many parameters there are, and how many of them are trained."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {"parameters": sum(n for n, _ in sizes), "trained": sum(n for n, trained in sizes if trained)}


def checkpoint_class(folder: Path) -> str:
    """Return the architecture that a checkpoint names."""
    body = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return str(body["architectures"][0])
