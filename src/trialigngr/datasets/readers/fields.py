"""What a value of somebody's JSON means: an id, text, names. `ValueError` for one that means nothing of the kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trialigngr.catalog.listed import read_list
from trialigngr.foundation.strict_json import mend_text


class MissingIdError(ValueError):
    """A user or an item that has no id."""


def read_record_id(record: Mapping[str, Any], name: str) -> str:
    """Return the id in a field of a record."""
    return read_id(record[name], name)


def read_id(value: object, name: str) -> str:
    """Return an id: text, or a whole number as text; raise `MissingIdError` that says what else it is."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or value == "":
        raise MissingIdError(f"{name} is {'null' if value is None else 'empty'}, and an id is needed")
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise MissingIdError(f"{name} is {str(value)[:80]!r}, and an id, text or a whole number, is needed")
    text = mend_text(str(value))
    if "\ufffd" in text:
        raise MissingIdError(f"{name} {text[:80]!r} holds half a character, so other ids could look the same")
    return text


def join_texts(value: object) -> str | None:
    """Return text, a list of texts (also one written as text) joined by spaces, or None where nothing is told."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, str):
        parts = read_list(value)
        return mend_text(value if parts is None else " ".join(parts))
    if isinstance(value, list):
        return " ".join(text for part in value if (text := _clean_text(part)))
    return _clean_text(value)


def _clean_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value and mend_text(value)
    if isinstance(value, (bool, list, dict)) or not isinstance(value, (int, float)):
        raise ValueError(f"{str(value)[:80]!r} stands where text is expected")
    return str(value)


def read_names(value: object) -> list[str]:
    """Return a list of names as it stands, also one written as text; other text is a list of one."""
    if value is None or (isinstance(value, float) and value != value):
        return []
    if isinstance(value, str):
        parts = read_list(value)
        return [value] if parts is None else parts
    if not isinstance(value, list) or not all(part is None or isinstance(part, str) for part in value):
        raise ValueError(f"categories are {str(value)[:80]!r}, and a list of names is needed")
    return [part for part in value if part is not None]
