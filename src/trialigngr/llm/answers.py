"""What holds for every answer of a language model, whatever it was asked."""

from __future__ import annotations

import re
from importlib.resources import files

MAX_CHARACTERS = 50_000
"""No answer that was asked for is longer."""
CORRECTION_TEMPLATE = (files("trialigngr.llm") / "again.txt").read_text("utf-8").strip()
"""What follows a question whose answer could not be used, with ``{problem}`` where the reason goes."""
SENTENCES = re.compile(r".*[.!?](?=\s)", re.DOTALL)
"""As many whole sentences as a text begins with."""


class ResponseError(ValueError):
    """An answer that is not what was asked for; the message goes back to the model."""


def trim_to_sentences(answer: str) -> str:
    """Return an answer that was cut short up to its last whole sentence; as it is when none ends, or it is no prose."""
    found = None if answer.startswith(("{", "[", "`")) else SENTENCES.match(f"{answer} ")
    return found[0] if found else answer
