"""One sentence per mistake: what is wrong, where, and what to do. The command line prints it and exits with 2."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum


class ErrorKind(StrEnum):
    """What kind of thing went wrong, for whoever answers a request: a service maps it to a status."""

    UNKNOWN_ITEM = "unknown_item"
    UNKNOWN_USER = "unknown_user"
    UNKNOWN_CATEGORY = "unknown_category"
    UNKNOWN_SYSTEM = "unknown_system"
    INVALID_ARGUMENT = "invalid_argument"
    INVALID_DATA = "invalid_data"
    INVALID_RECIPE = "invalid_recipe"
    NOT_TRAINED = "not_trained"
    DAMAGED_RUN = "damaged_run"
    BUSY = "busy"
    OTHER = "other"


class TriAlignError(Exception):
    """Something the user can mend; never a bug. The message is one clear sentence (or two) without a traceback."""

    kind = ErrorKind.OTHER

    def __init__(self, message: str, kind: ErrorKind | None = None) -> None:
        super().__init__(message)
        self.kind = kind or self.kind


class CatalogError(TriAlignError):
    """A data folder that cannot be read as it is, or something that a catalogue does not have."""

    kind = ErrorKind.INVALID_DATA


class ImageError(TriAlignError):
    """A picture that cannot be used; callers count it by its short ``reason`` and go on without the picture."""

    def __init__(self, message: str, reason: str = "unusable") -> None:
        super().__init__(message)
        self.reason = reason


class RecipeError(TriAlignError):
    """A recipe or a setting that does not fit."""

    kind = ErrorKind.INVALID_RECIPE


class ArtifactError(TriAlignError):
    """A run folder, or a stage in it, that cannot be used."""

    kind = ErrorKind.DAMAGED_RUN


class ArgumentError(TriAlignError):
    """A call from Python with something it cannot take."""

    kind = ErrorKind.INVALID_ARGUMENT


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"``, or an empty string when nothing known is near."""
    near = get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
