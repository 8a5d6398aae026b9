"""`without_key`: words of others without our key, which they were told and may repeat in many ways."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from functools import lru_cache

SHORT = 8
"""Letters of a key that is none: such a one ("none", "EMPTY") is taken out where it stands as a word alone."""
INSTEAD = "…"


def without_key(words: str, key: str) -> str:
    """Return the words with ``…`` in each place of the key: as it is, in other letters' case, backwards, in base64
    (alone or within something longer), in hexadecimal, and with any letters escaped as in URLs, HTML and JSON."""
    return _pattern(key).sub(INSTEAD, words) if key else words


@lru_cache(8)
def _pattern(key: str) -> re.Pattern[str]:
    if len(key) < SHORT:
        return re.compile(rf"(?<!\w){re.escape(key)}(?!\w)", re.IGNORECASE)
    forms = [*map(re.escape, (key.encode().hex(), *_in_base64(key))), _escaped(key), _escaped(key[::-1])]
    return re.compile("|".join(forms), re.IGNORECASE)


def _in_base64(key: str) -> Iterator[str]:
    """Yield what base64 makes of the key alone, for each place where it may begin among groups of three bytes."""
    for before in range(3):
        end = before + len(key)
        coded = b64encode(bytes(before) + key.encode()).decode()[(before * 8 + 5) // 6 : end * 8 // 6]
        yield coded
        yield coded.replace("+", "-").replace("/", "_")


def _escaped(key: str) -> str:
    """Return a pattern of the key with any of its letters escaped."""
    return "".join(
        f"(?:{re.escape(letter)}|%{ord(letter):02x}|&#0*{ord(letter)};?|&#x0*{ord(letter):x};?"
        rf"|\\u00{ord(letter):02x}|\\x{ord(letter):02x}|\\{re.escape(letter)})"
        for letter in key
    )
