"""LoRA through `peft`: small trained matrices beside frozen ones, and the SID tokens' own rows trained whole."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from trialigngr.foundation.errors import RecipeError
from trialigngr.models.settings import LoraSettings


def add_lora(model: Any, settings: LoraSettings, sid_token_ids: Sequence[int]) -> Any:
    """Return the `PeftModel` around a model, whose layers are changed in place; what is trained is fp32.

    Raises `RecipeError` where peft is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise RecipeError("model.lora needs peft; install it with: pip install 'trialigngr[lora]'.") from None
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        trainable_token_indices={name: list(sid_token_ids) for name in _token_table_names(model)},
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # peft asks this version of transformers by a name that is about to go.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        adapted = get_peft_model(model, config)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            # Steps of AdamW are smaller than what bf16 can add to a weight.
            parameter.data = parameter.data.float()
    return adapted


def _token_table_names(model: Any) -> list[str]:
    """Return the last names of the layers that hold a row for each token: one where input and output are tied."""
    tables = {id(layer.weight): layer for layer in (model.get_output_embeddings(), model.get_input_embeddings())}
    return [name.rsplit(".", 1)[-1] for name, module in model.named_modules() if module in tables.values()]
