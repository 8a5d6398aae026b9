"""One sentence per mistake: what is wrong, where, and what to do. The command line prints it and exits with 2."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class TriAlignError(Exception):
    """Something the user can mend; never a bug. The message is one clear sentence (or two) without a traceback."""


class CatalogError(TriAlignError):
    """A data folder that cannot be read as it is."""


class ImageError(TriAlignError):
    """A picture that cannot be used; callers count it by its short ``reason`` and go on without the picture."""

    def __init__(self, message: str, reason: str = "unusable") -> None:
        super().__init__(message)
        self.reason = reason


class RecipeError(TriAlignError):
    """A recipe or a setting that does not fit."""


class ArtifactError(TriAlignError):
    """A run folder, or a stage in it, that cannot be used."""


class ArgumentError(TriAlignError):
    """A call from Python with something it cannot take."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"``, or an empty string when nothing known is near."""
    near = get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
