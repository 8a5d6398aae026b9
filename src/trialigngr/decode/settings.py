"""The settings of beam search."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trialigngr.foundation.config import Precision, Settings

ScoreSoftmax = Literal["full", "constrained"]


class DecodeSettings(Settings):
    """How recommendations are written."""

    num_beams: int = Field(20, ge=1)
    """Beams kept at every level."""
    score_softmax: ScoreSoftmax = "constrained"
    """``constrained``: softmax over what the trie allows at each step; the better one on validation (docs/log). A
    filter changes no score; an item that is appended takes a share from its neighbours in the trie.
    ``full``: log-softmax over all tokens, then the trie, as beam search with a constraint has it elsewhere."""
    batch_size: int = Field(64, ge=1)
    """Prompts decoded together."""
    precision: Precision = "auto"
    """``bf16``, ``fp32``, or ``auto``: bf16 where the hardware is fast at it."""

    def choose_num_beams(self, k: int, num_items: int) -> int:
        """Return the beams that lists of k of so many items take: k where that is more than ``num_beams``."""
        return max(self.num_beams, min(k, num_items))
