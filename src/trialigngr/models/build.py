"""`build_backbone`: the model to be trained, from scratch or a pretrained one with rows for the SID tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.hub import load_tokenizer, reason_of
from trialigngr.foundation.seeds import derive_seed
from trialigngr.models.backbone import Backbone
from trialigngr.models.lora import add_lora
from trialigngr.models.settings import BackboneSettings
from trialigngr.models.sid_embeddings import Float32Array, init_from_codebooks, init_near_mean
from trialigngr.models.tokenizer import add_sid_tokens, train_tokenizer
from trialigngr.pretrained import smollm2

ROPE_OF_QWEN3 = {"rope_type": "default", "rope_theta": 1_000_000.0}
"""Qwen3's own; FlashRec takes it for granted."""
DROPOUT_MODULES = ("embed_tokens", "self_attn", "mlp")
"""Modules whose outputs `add_dropout` drops from, by their last names."""


def build_backbone(
    settings: BackboneSettings,
    sid_tokens: Sequence[str],
    texts: Iterable[str],
    seed: int,
    codebooks: Sequence[Float32Array] = (),
) -> Backbone:
    """Return the model to be trained: from scratch on a BPE of ``texts``, or a pretrained one with new SID rows.

    ``codebooks`` [K, Z] level by level are for ``sid_rows = codebook``.
    """
    refuse_settings(settings)
    torch.manual_seed(derive_seed(seed, "backbone"))
    backbone = (
        _build_from_scratch(settings, sid_tokens, texts)
        if settings.name_or_path == "scratch"
        else _load_pretrained(settings, sid_tokens)
    )
    if settings.sid_embedding_init == "codebook":
        init_from_codebooks(backbone.model, backbone.sid_token_ids, codebooks, seed)
    return prepare_for_training(backbone, settings)


def prepare_for_training(backbone: Backbone, settings: BackboneSettings) -> Backbone:
    """Return a backbone with LoRA, gradient checkpointing and dropout as the settings say; its model is changed in
    place."""
    if settings.lora.rank:
        backbone = replace(backbone, peft_model=add_lora(backbone.model, settings.lora, backbone.sid_token_ids))
    if settings.gradient_checkpointing:
        # The name that transformers 5.23 gives it; before, it was the other.
        new = getattr(backbone.model, "activation_checkpointing_enable", None)
        (new or backbone.model.gradient_checkpointing_enable)({"use_reentrant": False})
    if settings.dropout:
        add_dropout(backbone.model, settings.dropout)
    return backbone


def refuse_settings(settings: BackboneSettings) -> None:
    """Raise `RecipeError` for settings that no model can have."""
    if settings.weight_dtype == "bf16" and not settings.lora.rank:
        raise RecipeError(
            "model.weight_dtype = bf16 is for frozen weights: small steps are lost in it. Set model.lora.rank, or use "
            "fp32."
        )
    if settings.name_or_path != "scratch":
        return
    if settings.hidden_size % (2 * settings.num_heads):
        raise RecipeError(
            f"model.hidden_size = {settings.hidden_size} cannot be shared by {settings.num_heads} heads; "
            f"make it a multiple of {2 * settings.num_heads} (each head turns pairs of dimensions)."
        )
    if settings.num_kv_heads and settings.num_heads % settings.num_kv_heads:
        raise RecipeError(
            f"model.num_kv_heads = {settings.num_kv_heads} does not divide the {settings.num_heads} heads."
        )


def _build_from_scratch(settings: BackboneSettings, sid_tokens: Sequence[str], texts: Iterable[str]) -> Backbone:
    tokenizer = train_tokenizer(texts, settings.vocab_size)
    sid_ids = add_sid_tokens(tokenizer, sid_tokens)
    config = make_scratch_config(settings, len(tokenizer), tokenizer)
    model = Qwen3ForCausalLM(config) if isinstance(config, Qwen3Config) else Qwen2ForCausalLM(config)
    # Measured (docs/log): at the 0.02 of large models the first layers drown the token, and training hardly starts.
    nn.init.normal_(model.get_input_embeddings().weight, std=settings.hidden_size**-0.5)
    return Backbone(model, tokenizer, sid_ids)


def make_scratch_config(
    settings: BackboneSettings, vocab_size: int, tokenizer: Any = None
) -> Qwen2Config | Qwen3Config:
    """Return the shape of a Qwen2 or Qwen3 of these sizes over ``vocab_size`` tokens."""
    sizes: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": settings.hidden_size,
        "intermediate_size": settings.ffn_size,
        "num_hidden_layers": settings.num_layers,
        "num_attention_heads": settings.num_heads,
        "num_key_value_heads": settings.num_kv_heads or settings.num_heads,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": settings.tie_embeddings,
        "pad_token_id": getattr(tokenizer, "pad_token_id", None),
        "bos_token_id": None,
        "eos_token_id": getattr(tokenizer, "eos_token_id", None),
    }
    if settings.architecture == "qwen2":
        return Qwen2Config(**sizes)
    return Qwen3Config(
        **sizes, head_dim=settings.hidden_size // settings.num_heads, rope_parameters=dict(ROPE_OF_QWEN3)
    )


def _load_pretrained(settings: BackboneSettings, sid_tokens: Sequence[str]) -> Backbone:
    name, dtype = settings.name_or_path, torch.bfloat16 if settings.weight_dtype == "bf16" else torch.float32
    with _translate_name_errors(name):
        if name == smollm2.MODEL_NAME:
            model, tokenizer = smollm2.load_smollm2(dtype)
        else:
            tokenizer = load_tokenizer(name)
            model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, trust_remote_code=False)
    before = len(tokenizer)
    sid_ids = add_sid_tokens(tokenizer, sid_tokens)
    init_near_mean(model, before, len(tokenizer))
    return Backbone(model, tokenizer, sid_ids)


@contextmanager
def _translate_name_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"model.name_or_path = {name!r} cannot be loaded ({reason_of(error)}); give a hub name or a folder of a "
            "causal LM."
        ) from None


def read_shape(name: str) -> tuple[Any, Any]:
    """Return the configuration and the tokenizer of a model of a hub or a folder; no weights are read.

    Raises `RecipeError` when they cannot be.
    """
    with _translate_name_errors(name):
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            raise ValueError(f"a model of type {config.model_type!r} is no causal LM")
        return config, load_tokenizer(name)


def add_dropout(model: Any, rate: float) -> None:
    """Drop from the embeddings and from what every attention and feed-forward block adds (Vaswani et al. 2017, 5.4).

    Done by hooks, so that the saved checkpoint is a plain model of its class. Raises `RecipeError` where not all of
    them bear the names that they have in a Qwen or a Llama.
    """

    def drop_output(module: nn.Module, _inputs: object, output: Any) -> Any:
        if not module.training:
            return output
        if isinstance(output, tuple):
            return (_apply_dropout(output[0], rate), *output[1:])
        return _apply_dropout(output, rate)

    found = [module for name, module in model.named_modules() if name.rsplit(".", 1)[-1] in DROPOUT_MODULES]
    if len(found) != 1 + 2 * model.config.num_hidden_layers:
        raise RecipeError(
            f"model.dropout does not find every block of a model of type {model.config.model_type!r}; set it to 0."
        )
    for module in found:
        module.register_forward_hook(drop_output)


def _apply_dropout(values: Tensor, rate: float) -> Tensor:
    """Return the values with each dropped at ``rate`` and the rest scaled up."""
    return _apply_cpu_dropout(values, rate) if values.device.type == "cpu" else nn.functional.dropout(values, rate)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # NumPy's part cannot be traced
def _apply_cpu_dropout(values: Tensor, rate: float) -> Tensor:
    """Return the same by coins that are bytes of a NumPy generator (the rate in steps of 1/256), ten times faster than
    torch's here. Its seed comes from torch's generator, so a seeded step drops the same values again."""
    seed = int(torch.randint(1 << 62, ()).item())
    coins = np.frombuffer(np.random.Generator(np.random.SFC64(seed)).bytes(values.numel()), dtype=np.uint8)
    dropped = round(rate * 256)
    keep = torch.from_numpy(coins >= dropped).view(values.shape)
    return values * keep.to(values.dtype).mul_(256 / (256 - dropped))
