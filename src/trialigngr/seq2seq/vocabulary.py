"""`SidVocabulary`: the tokens of an encoder–decoder generator: codes, buckets of users, padding and an end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from trialigngr.catalog.queries import Rows
from trialigngr.sids.semantic_ids import END_CODE, Codes

PAD_TOKEN, END_TOKEN = 0, 1
"""Padding, with which the decoder begins, too, as T5's does; the end of a history, or of a SID that ends early."""
ABSENT = -1
"""In tables of tokens: no token."""


@dataclass(frozen=True)
class SidVocabulary:
    """Token ids: padding and end, then the codes level by level, then the users' buckets, then prompts."""

    codebook_sizes: tuple[int, ...]
    num_user_buckets: int = 0
    num_prompt_tokens: int = 0

    @property
    def level_starts(self) -> Rows:
        """The token of each level's first code [L], and the token behind the last level's last."""
        starts: Rows = 2 + np.cumsum([0, *self.codebook_sizes], dtype=np.int64)
        return starts

    @property
    def size(self) -> int:
        """The number of tokens."""
        return int(self.level_starts[-1]) + self.num_user_buckets + self.num_prompt_tokens

    @property
    def prompt_tokens(self) -> range:
        """The tokens that name tasks."""
        return range(self.size - self.num_prompt_tokens, self.size)

    def list_level_tokens(self) -> list[range]:
        """Return the tokens of each level's codes."""
        return [range(first, last) for first, last in pairwise(self.level_starts.tolist())]

    def encode_codes(self, codes_NL: Codes, first_level: int = 0) -> Rows:
        """Return the tokens [N, L] of items' codes, `ABSENT` where a SID has ended. ``first_level`` is the level of the
        first codes, where items have several SIDs."""
        starts_L = self.level_starts[first_level : first_level + codes_NL.shape[1]]
        tokens_NL: Rows = np.where(codes_NL == END_CODE, ABSENT, codes_NL + starts_L)
        return tokens_NL

    def encode_users(self, users: Rows | Sequence[int]) -> Rows:
        """Return the tokens of users by number; `ABSENT` for strangers (−1), and where users have no tokens."""
        numbers = np.asarray(users, dtype=np.int64)
        if not self.num_user_buckets:
            return np.full(len(numbers), ABSENT)
        return np.where(numbers < 0, ABSENT, self.level_starts[-1] + numbers % self.num_user_buckets)
