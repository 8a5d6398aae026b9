"""`PromptTemplate`: what a language model is told, from a file; an item's text enters it as data and as nothing
else."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from json.encoder import encode_basestring as quoted
from pathlib import Path
from typing import get_args

from trialigngr.enrich.response_schemas import Choices, ResponseForm
from trialigngr.enrich.text import ItemText
from trialigngr.foundation.errors import RecipeError, did_you_mean
from trialigngr.llm.answers import CORRECTION_TEMPLATE

MAX_PART_CHARACTERS = {"title": 200, "categories": 300, "description": 2_000, "caption": 1_200}
"""Characters that a prompt shows of each part of an item."""
_BRACKETED_TOKEN = re.compile(r"\[(/?[A-Za-z_][A-Za-z0-9_]{2,})\]")
_SUSPECT_CHARACTER = re.compile(r"[<>\[]")


@dataclass(frozen=True)
class PromptTemplate:
    """``system`` and ``user`` (with ``{item}`` where an item's data goes, if it is shown), the answer's form.

    ``choices`` ends the system message where an answer must be chosen (with ``{tags}`` and ``{lifestyles}``).
    """

    name: str
    response_form: ResponseForm
    system: str
    user: str
    choices: str = ""

    @property
    def content_hash(self) -> str:
        """16 hex digits that change with any letter of the prompt or `CORRECTION_TEMPLATE`; ``choices`` count where
        they are told."""
        return _hash_parts(self.response_form, self.system, self.user, CORRECTION_TEMPLATE)

    def fingerprint_parts(self, with_choices: bool) -> dict[str, str]:
        """Return name → hash of all that a model is told beside the items; ``with_choices`` when it is told its
        choices."""
        return {"prompt": self.content_hash} | ({"choices": _hash_parts(self.choices)} if with_choices else {})

    def fill_item(self, item: ItemText) -> str:
        """Return the user's message about an item."""
        return self.user.replace("{item}", encode_item(item))

    def fill_choices(self, choices: Choices) -> str:
        """Return the system message with all that an answer may choose from."""
        listed = self.choices.replace("{tags}", "; ".join(choices.tags))
        return f"{self.system}\n{listed.replace('{lifestyles}', '; '.join(choices.lifestyles))}"


def _hash_parts(*parts: str) -> str:
    return sha256("\0".join(parts).encode()).hexdigest()[:16]


def encode_item(item: ItemText) -> str:
    """Return the item as one line of JSON without what looks like a chat marker, each part cut to its length."""
    # As json.dumps writes an object of texts, in half the time.
    named = zip(item._fields, item, strict=True)
    parts = [f'"{name}": {quoted(text[: MAX_PART_CHARACTERS[name]])}' for name, text in named if text]
    return _escape_special_tokens(f"{{{', '.join(parts)}}}")


def _escape_special_tokens(text: str) -> str:
    """Return the text without what could be read as a special token (``<|im_end|>``, ``</s>``, ``[gMASK]``)."""
    if not _SUSPECT_CHARACTER.search(text):
        return text
    return _BRACKETED_TOKEN.sub(r"(\1)", text.replace("<", "‹").replace(">", "›"))


def list_packaged_prompts() -> list[str]:
    """Return the names of the prompts that come with the package."""
    folder = files("trialigngr.enrich") / "prompts"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def read_prompt(name: str) -> PromptTemplate:
    """Return a packaged prompt by name, or the one in a .toml file; raise `RecipeError` for one that is none."""
    if name not in list_packaged_prompts() and not name.endswith(".toml"):
        known = list_packaged_prompts()
        hint = did_you_mean(name, known)
        raise RecipeError(f"There is no prompt {name!r}; known are {', '.join(known)}, or give a .toml file.{hint}")
    try:
        packaged = files("trialigngr.enrich") / "prompts" / f"{name}.toml"
        text = Path(name).read_text("utf-8") if name.endswith(".toml") else packaged.read_text("utf-8")
        table = tomllib.loads(text)
        parts = (table["system"], table["user"], table.get("choices", ""))
        prompt = PromptTemplate(name, table["answer"], *map(str.strip, parts))
    except OSError:
        raise RecipeError(f"There is no prompt file {name}.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"The prompt {name} cannot be read ({error}); it needs answer, system and user.") from None
    if prompt.response_form not in get_args(ResponseForm):
        raise RecipeError(
            f"The prompt {name} has answer = {prompt.response_form!r}; it must be {', '.join(get_args(ResponseForm))}."
        )
    return prompt
