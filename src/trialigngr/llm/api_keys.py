"""Keys: which environment variables are read, and words of others, who were told a key, without it."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Iterator
from functools import lru_cache

from trialigngr.foundation.errors import RecipeError

NAMES = "_API_KEY"
"""How the variables end whose values are sent to servers."""
_allowed: set[str] = set()
SHORT = 8
"""Letters of a key that is none: such a one ("none", "EMPTY") is taken out where it stands as a word alone."""
INSTEAD = "…"


def allow_key_variables(*names: str) -> None:
    """Let these environment variables be read as keys too. Only whoever runs this may say so: a recipe may be of
    somebody else, who would have the value of any variable sent to a server of his."""
    _allowed.update(names)


def read_key(variable: str, url: str) -> str:
    """Return the key in an environment variable, empty when there is none; raise `RecipeError` for a variable that
    nobody here said to hold a key. ``url`` is where it will be sent."""
    if not variable.endswith(NAMES) and variable not in _allowed:
        raise RecipeError(
            f"api_key_env = {variable} is not read, as it does not end in {NAMES}, and its value would be sent to "
            f"{url}. If that is what you want, say --allow-key-variable {variable}."
        )
    return os.environ.get(variable, "").strip()


def without_key(words: str, key: str) -> str:
    """Return the words with ``…`` in each place of the key: as it is, in other letters' case, backwards, in base64
    (alone or within something longer), in hexadecimal, and with any letters escaped as in URLs, HTML and JSON."""
    return _key_pattern(key).sub(INSTEAD, words) if key else words


@lru_cache(8)
def _key_pattern(key: str) -> re.Pattern[str]:
    if len(key) < SHORT:
        return re.compile(rf"(?<!\w){re.escape(key)}(?!\w)", re.IGNORECASE)
    forms = [
        *map(re.escape, (key.encode().hex(), *_in_base64(key))),
        _escaped_letters_pattern(key),
        _escaped_letters_pattern(key[::-1]),
    ]
    return re.compile("|".join(forms), re.IGNORECASE)


def _in_base64(key: str) -> Iterator[str]:
    """Yield what base64 makes of the key alone, for each place where it may begin among groups of three bytes."""
    for before in range(3):
        end = before + len(key)
        coded = b64encode(bytes(before) + key.encode()).decode()[(before * 8 + 5) // 6 : end * 8 // 6]
        yield coded
        yield coded.replace("+", "-").replace("/", "_")


def _escaped_letters_pattern(key: str) -> str:
    """Return a pattern of the key with any of its letters escaped."""
    return "".join(
        f"(?:{re.escape(letter)}|%{ord(letter):02x}|&#0*{ord(letter)};?|&#x0*{ord(letter):x};?"
        rf"|\\u00{ord(letter):02x}|\\x{ord(letter):02x}|\\{re.escape(letter)})"
        for letter in key
    )
