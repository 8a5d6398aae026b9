"""`ChatTemplate`: the model's own chat template in token ids, with text that can never become a special token.

The template is taken apart once: what stands before the system text, between it and the user's text, after the user's
text (the assistant's header) and after the assistant's. Those pieces are trusted and may hold special tokens.
Everything else is encoded by the bare tokenizer, which knows no special or added token at all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError
from tokenizers import Tokenizer

from trialigngr.foundation.errors import RecipeError

_SYSTEM_MARK, _USER_MARK, _ASSISTANT_MARK = "\ue000s\ue000", "\ue000u\ue000", "\ue000a\ue000"
# Some templates tell the day; a prompt must be the same tomorrow.
_FIXED_DATE_MACRO = "{% macro strftime_now(form) %}01 Jan 2025{% endmacro %}"


def _strip_added_tokens(tokenizer: Any) -> Tokenizer:
    """Return the tokenizer without added tokens: neither beside its vocabulary nor, for a BPE, as words within it."""
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise RecipeError("The backbone has no fast tokenizer (tokenizer.json); use another backbone.")
    body = json.loads(tokenizer.backend_tokenizer.to_str())
    model, added = body["model"], {token["content"] for token in body["added_tokens"]}
    if model["type"] == "BPE":
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        model["merges"] = [[left, right] for left, right in pairs if added.isdisjoint((left, right, left + right))]
        model["vocab"] = {word: token for word, token in model["vocab"].items() if word not in added}
        model["unk_token"] = None if model["unk_token"] in added else model["unk_token"]
    # What a saved tokenizer.json may carry besides would cut, fill or frame the text.
    body |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    return Tokenizer.from_str(json.dumps(body))


class ChatTemplate:
    """A chat template as token ids (lists of int); ``assistant_suffix`` ends the assistant's turn, its last id is the
    end."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._text_tokenizer = _strip_added_tokens(tokenizer)
        self._special_ids = set(tokenizer.get_added_vocab().values()) | set(tokenizer.all_special_ids)
        before, between, tail, close = self._split_template()
        self.system_prefix, self.user_prefix, self.assistant_prefix = map(self._encode_trusted, (before, between, tail))
        self.assistant_suffix = self._cut_after_end(self._encode_trusted(close))
        if not self.assistant_prefix:
            raise RecipeError(
                "The backbone's chat template has no assistant header to answer after; use another backbone."
            )

    def _split_template(self) -> tuple[str, str, str, str]:
        user = {"role": "user", "content": _USER_MARK}
        # Some templates know no system role: then its text opens the user's.
        both = {"role": "user", "content": f"{_SYSTEM_MARK}\n\n{_USER_MARK}"}
        for asked in ([{"role": "system", "content": _SYSTEM_MARK}, user], [both]):
            try:
                before, rest = self._render_messages(asked, True).split(_SYSTEM_MARK)
                between, tail = rest.split(_USER_MARK)
                _, close = self._render_messages(
                    [*asked, {"role": "assistant", "content": _ASSISTANT_MARK}], False
                ).split(_ASSISTANT_MARK)
            except (ValueError, TemplateError):
                continue
            return before, between, tail, close
        raise RecipeError(
            "The backbone's chat template does not show system, user and assistant text once each; "
            "use another backbone."
        )

    def _render_messages(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
        template = _FIXED_DATE_MACRO + self.tokenizer.get_chat_template()
        render = self.tokenizer.apply_chat_template
        return str(
            render(messages, chat_template=template, tokenize=False, add_generation_prompt=add_generation_prompt)
        )

    def _encode_trusted(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _cut_after_end(self, ids: list[int]) -> list[int]:
        for place, token in enumerate(ids):
            if token in self._special_ids:
                return ids[: place + 1]
        if self.tokenizer.eos_token_id is None:
            raise RecipeError("The backbone's tokenizer has no token that ends an answer; use another backbone.")
        return [int(self.tokenizer.eos_token_id)]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of texts; no id is a special or added token, whatever the text says."""
        encodings = self._text_tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [self._remove_special(text, encoding.ids) for text, encoding in zip(texts, encodings, strict=True)]

    def _remove_special(self, text: str, ids: list[int]) -> list[int]:
        # A vocabulary that is no BPE may list special tokens among its words; letter by letter they cannot be met.
        if self._special_ids.isdisjoint(ids):
            return ids
        letters = self._text_tokenizer.encode_batch(list(text), add_special_tokens=False)
        return [token for letter in letters for token in letter.ids if token not in self._special_ids]

    def build_header(self, system: str, instruction: str) -> list[int]:
        """Return everything up to where the user's items begin."""
        return [*self.system_prefix, *self.encode([system])[0], *self.user_prefix, *self.encode([instruction])[0]]

    def is_special(self, token: int) -> bool:
        """Return whether an id stands for a special or added token, never for text."""
        return token in self._special_ids
