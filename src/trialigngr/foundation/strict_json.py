"""JSON that a stranger wrote: keys that stand twice are refused, half characters become U+FFFD."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)")
"""An escape of JSON: a pair of surrogates, a half of one, or any other."""
_HALF_ESCAPE = 6


def mend_text(text: str) -> str:
    """Return text that any file or tokenizer takes: halves of characters, and bytes that were no UTF-8, as U+FFFD."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def mend_escapes(text: str) -> str:
    """Return JSON whose escaped halves of characters (``\\ud83d`` with no other half behind it) are ``\\ufffd``."""

    def mend_match(escape: re.Match[str]) -> str:
        half = len(escape[0]) == _HALF_ESCAPE
        return r"\ufffd" if half else escape[0]

    return _ESCAPE.sub(mend_match, text) if r"\ud" in text.lower() else text


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of its pairs; raise `ValueError` that names a key which stands twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"an object has {twice!r} more than once; give each its own name")
    return found


def refuse_constant(name: str) -> Any:
    """Raise `ValueError`: NaN and Infinity are no JSON."""
    raise ValueError(f"{name} is no JSON; write null")


def parse_json(text: str, constant: Callable[[str], Any] = refuse_constant, **options: Any) -> Any:
    """Return what JSON text holds. ``constant`` gives the value of NaN and Infinity, which are refused otherwise.

    Raises `ValueError` for text that is no JSON or that has a key twice in one object.
    """
    return json.loads(mend_escapes(text), object_pairs_hook=unique_keys, parse_constant=constant, **options)
