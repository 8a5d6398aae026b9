"""`Chat`: the model's own chat template in token ids, with text that can never become a special token.

The template is taken apart once: what stands before the system text, between it and the user's text, after the user's
text (the assistant's header) and after the assistant's. Those pieces are trusted and may hold special tokens. Everything
else is encoded by the bare tokenizer, which knows no added token at all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

from trialigngr.foundation.errors import RecipeError

_SYSTEM, _USER, _ASSISTANT = "\ue000s\ue000", "\ue000u\ue000", "\ue000a\ue000"


def _bare(tokenizer: Any) -> Tokenizer:
    body = json.loads(tokenizer.backend_tokenizer.to_str())
    body["added_tokens"] = []
    body["post_processor"] = None
    return Tokenizer.from_str(json.dumps(body))


class Chat:
    """A chat template as token ids. Ids are lists of int; ``close`` ends the assistant's turn (its last id is the end)."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._text = _bare(tokenizer)
        self._special = set(tokenizer.get_added_vocab().values()) | set(tokenizer.all_special_ids)
        before, between, tail, close = self._pieces()
        self.before, self.between, self.tail = map(self._trusted, (before, between, tail))
        self.close = self._closing(self._trusted(close))
        if not self.tail:
            raise RecipeError(
                "The backbone's chat template has no assistant header to answer after; use another backbone."
            )

    def _pieces(self) -> tuple[str, str, str, str]:
        messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}]
        answered = [*messages, {"role": "assistant", "content": _ASSISTANT}]
        render = self.tokenizer.apply_chat_template
        try:
            before, rest = render(messages, tokenize=False, add_generation_prompt=True).split(_SYSTEM)
            between, tail = rest.split(_USER)
            close = render(answered, tokenize=False).split(_ASSISTANT)[1]
        except ValueError:
            raise RecipeError(
                "The backbone's chat template does not show system and user text once each; use another backbone."
            ) from None
        return before, between, tail, close

    def _trusted(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _closing(self, ids: list[int]) -> list[int]:
        for place, token in enumerate(ids):
            if token in self._special:
                return ids[: place + 1]
        return [int(self.tokenizer.eos_token_id)]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of texts; no id is a special or added token, whatever the text says."""
        encodings = self._text.encode_batch(list(texts), add_special_tokens=False)
        return [self._checked(text, encoding.ids) for text, encoding in zip(texts, encodings, strict=True)]

    def _checked(self, text: str, ids: list[int]) -> list[int]:
        # Some vocabularies list special tokens among the ordinary ones; letter by letter they cannot be met.
        if self._special.isdisjoint(ids):
            return ids
        letters = self._text.encode_batch(list(text), add_special_tokens=False)
        return [token for letter in letters for token in letter.ids if token not in self._special]

    def header(self, system: str, instruction: str) -> list[int]:
        """Return everything up to where the user's items begin."""
        return [*self.before, *self.encode([system])[0], *self.between, *self.encode([instruction])[0]]

    def is_special(self, token: int) -> bool:
        """Say whether an id stands for a special or added token, never for text."""
        return token in self._special
