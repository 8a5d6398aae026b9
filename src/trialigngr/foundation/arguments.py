"""What Python hands over, checked: a text is no list, a flag no number, a path no list of paths."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import SupportsIndex, TypeAlias, TypeVar

import numpy as np

from trialigngr.foundation.errors import ArgumentError

Id: TypeAlias = str | SupportsIndex
"""An id as text, or a whole number (of Python, NumPy and the like), which stands for its digits."""
T = TypeVar("T")


def read_id(given: Id, what: str) -> str:
    """Return an id as text; raise `ArgumentError` for what is neither a text nor a whole number."""
    if isinstance(given, str):
        return str(given)
    if not isinstance(given, bool):
        try:
            return str(operator.index(given))
        except TypeError:
            pass
    raise ArgumentError(f"{what} is {_show_value(given)}; an id is a text or a whole number.")


def read_ids(given: Iterable[Id], what: str, *, ordered: bool = False) -> list[str]:
    """Return ids as texts, in their order; raise `ArgumentError` for a text, which would be read letter by letter, for
    what is no list, and for a set where they must be ``ordered``."""
    return [read_id(one, f"{what}[{place}]") for place, one in enumerate(read_list(given, what, "ids", ordered))]


def read_texts(given: Iterable[str], what: str, example: str) -> tuple[str, ...]:
    """Return texts in their order; raise `ArgumentError` for a single one, and for what is none."""
    return tuple(read_text(one, what) for one in read_list(given, what, f"texts such as {example!r}", True))


def read_list(given: Iterable[T], what: str, of: str, ordered: bool = True) -> list[T]:
    """Return a list; raise `ArgumentError` for a text, a mapping, what is no list, and a set where it must be
    ``ordered``."""
    if isinstance(given, str | bytes | bytearray):
        raise ArgumentError(f"{what} is the text {given!r}; give a list of {of}, such as [{given!r}].")
    if isinstance(given, set | frozenset) and ordered:
        raise ArgumentError(f"{what} is a set, which has no order; give a list of {of}.")
    try:
        if isinstance(given, Mapping):
            raise TypeError
        return list(given)
    except TypeError:
        raise ArgumentError(f"{what} is {_show_value(given)}; give a list of {of}.") from None


def read_text(given: object, what: str) -> str:
    """Return a text; raise `ArgumentError` for anything else."""
    if not isinstance(given, str):
        raise ArgumentError(f"{what} is {_show_value(given)}; give a text.")
    return str(given)


def read_whole(given: SupportsIndex, what: str) -> int:
    """Return a whole number; raise `ArgumentError` for a flag, a fraction and anything else."""
    try:
        if isinstance(given, bool):
            raise TypeError
        return operator.index(given)
    except TypeError:
        raise ArgumentError(f"{what} is {_show_value(given)}; give a whole number.") from None


def read_flag(given: object, what: str) -> bool:
    """Return True or False; raise `ArgumentError` for anything else, such as the text "no", which Python takes for
    yes."""
    if not isinstance(given, bool | np.bool_):
        raise ArgumentError(f"{what} is {_show_value(given)}; give True or False.")
    return bool(given)


def read_path(given: str | os.PathLike[str], what: str) -> Path:
    """Return a path; raise `ArgumentError` for what is none."""
    if not isinstance(given, str | os.PathLike):
        raise ArgumentError(f"{what} is {_show_value(given)}; give a path, as a text or a Path.")
    return Path(given)


def _show_value(given: object) -> str:
    text = repr(given)
    return f"{text if len(text) <= 60 else text[:57] + '…'} ({type(given).__name__})"
