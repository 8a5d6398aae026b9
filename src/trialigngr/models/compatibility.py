"""What shared prefixes and beams take for granted of a language model, and the refusal of one that is made otherwise.

Both feed many continuations of one prompt at a time, each seeing the prompt and itself: that is right where attention
is plain causal attention, and where logits come from the last hidden state (`trialigngr.models.logits`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from trialigngr.foundation.errors import RecipeError

WINDOW_KEYS = ("sliding_window", "window_size", "attention_chunk_size")
MAX_LOGIT_DIFFERENCE = 0.02
"""Small random models that are fit differ by a millionth of their logits' spread from one way to the other, by a
hundredth in bf16; those that are made otherwise by a sixth and more."""
MAX_LOGIT_DIFFERENCE_16_BIT = 0.1
"""The same in 16 bits."""
TRIAL_PROMPT, TRIAL_CONTINUATION = [5, 6, 7, 8], [9, 3]
"""What a model is tried on: a prompt, and tokens that each stand behind it."""


def check_attention_is_causal(model: Any, compute_trial_logits: Callable[[Any], tuple[Tensor, Tensor]]) -> None:
    """Raise `RecipeError` for a model that gives other logits [X, V] when many answers share a prompt than row by row.

    ``compute_trial_logits`` tries it on a few tokens and returns the logits of either way.
    """
    with _translate_trial_errors(model), torch.no_grad():
        logits = compute_trial_logits(model)
    _check_same_logits(model, *logits)


def check_context_length(model: Any, num_tokens: int) -> None:
    """Raise `RecipeError` for a model that does not look back over so many tokens."""
    refuse_narrow_shape(model.config, num_tokens)


def refuse_narrow_shape(config: Any, tokens: int) -> None:
    """Raise `RecipeError` for the configuration of a model that does not look back over so many tokens."""
    for name in WINDOW_KEYS:
        window = getattr(config, name, None)
        if isinstance(window, int) and 0 < window < tokens:
            raise _make_incompatible_error(
                config, f"its {name} of {window} is shorter than the {tokens} tokens of a prompt and its answer"
            )
    if (positions := positions_of(config)) and positions < tokens:
        raise RecipeError(
            f"A model of type {config.model_type!r} with {positions} positions cannot read the {tokens} tokens that a "
            f"prompt and its answer may take; take another for model.name_or_path, or --set "
            f"prompt.max_length={positions}."
        )


def positions_of(config: Any) -> int | None:
    """Return how many tokens a model has positions for; None where it turns them (rotary) and so has no last one."""
    positions = getattr(config, "max_position_embeddings", None)
    if getattr(config, "rope_parameters", None) or getattr(config, "rope_theta", None):
        return None
    return positions if isinstance(positions, int) and positions > 0 else None


def _check_same_logits(model: Any, ours_XV: Tensor, own_XV: Tensor) -> None:
    ours, own = (one - one.mean(-1, keepdim=True) for one in (ours_XV.cpu().double(), own_XV.cpu().double()))
    furthest = MAX_LOGIT_DIFFERENCE if own_XV.element_size() > 2 else MAX_LOGIT_DIFFERENCE_16_BIT
    if not float((ours - own).norm()) <= furthest * float(own.norm()):
        raise _make_incompatible_error(model.config, "a try on a few tokens gave other logits than its own")


@contextmanager
def _translate_trial_errors(model: Any) -> Iterator[None]:
    """Say what a model that cannot even be tried is not fit for."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, TypeError, ValueError, IndexError, KeyError, RuntimeError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise _make_incompatible_error(model.config, f"a try on a few tokens failed: {first}") from None


def _make_incompatible_error(config: Any, reason: str) -> RecipeError:
    return RecipeError(
        f"A model of type {config.model_type!r} cannot be a backbone here: a prompt is read once for many "
        f"answers, which is right for plain causal attention, and {reason.rstrip('.')}. Take a Qwen2, Qwen3, Llama, "
        "SmolLM2, Mistral, Gemma, Granite or GPT-2 for model.name_or_path."
    )
