"""`CausalModel`: a causal language model of transformers as a `SequenceModel`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trialigngr.decode.lm_head import compute_level_logits
from trialigngr.decode.prompt_cache import PromptCache
from trialigngr.decode.sequence_model import Prompts
from trialigngr.models.compatibility import (
    TRIAL_CONTINUATION,
    TRIAL_PROMPT,
    check_attention_is_causal,
    check_context_length,
)
from trialigngr.models.item_layer import ItemLayer
from trialigngr.models.logits import compute_logits

if TYPE_CHECKING:  # a GPU's machine may lack pydantic (benchmarks/decode_gpu.py)
    from trialigngr.decode.settings import ScoreSoftmax


class CausalModel:
    """The prompt is the beginning of the row that the model goes on with; its generation_config is never read."""

    def __init__(self, model: Any, items: ItemLayer | None = None) -> None:
        """``items`` reads what prompts show of items beside their tokens."""
        self.model, self.items = model, items
        self._is_checked = False

    @property
    def device(self) -> torch.device:
        """Where the model stands now."""
        device: torch.device = self.model.device
        return device

    def check(self, num_tokens: int) -> None:
        """Raise `RecipeError` for a model whose attention does not let continuations share a prompt, or that does not
        look back so far. The first call tries it on a few tokens."""
        check_context_length(self.model, num_tokens)
        if not self._is_checked:
            check_attention_is_causal(self.model, _compute_trial_logits)
        self._is_checked = True

    def start(self, prompts: Prompts, reserved_tokens: int) -> PromptCache:
        """Read prompts."""
        return PromptCache(self.model, prompts, reserved_tokens, self.items)

    def compute_logits(self, hidden_XD: Tensor, tokens_K: Tensor, score_softmax: ScoreSoftmax) -> Tensor:
        """Return float32 logits [X, K] of some tokens."""
        return compute_level_logits(self.model, hidden_XD, tokens_K, score_softmax)


def _compute_trial_logits(model: Any) -> tuple[Tensor, Tensor]:
    """Return the logits behind a prompt and behind two continuations of it, grown as a search does and row by row."""
    context, grown = (
        PromptCache(model, [TRIAL_PROMPT], len(TRIAL_CONTINUATION)),
        torch.tensor([TRIAL_CONTINUATION], device=model.device),
    )
    seen_1XS = torch.eye(len(TRIAL_CONTINUATION), dtype=torch.bool, device=model.device)[None]
    hidden_XD = torch.cat([context.last_BD, context.advance(grown, torch.zeros_like(grown), seen_1XS)[0]])
    rows = [
        torch.tensor([[*TRIAL_PROMPT, *more]], device=model.device)
        for more in ([], *([token] for token in TRIAL_CONTINUATION))
    ]
    return compute_logits(model, hidden_XD), torch.cat([model(row).logits[:, -1] for row in rows])
