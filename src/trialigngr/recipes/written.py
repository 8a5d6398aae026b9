"""The recipe that stands in a run: with how to repeat the run, and a hash that tells whether it was changed since."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from trialigngr.foundation.files import write_text_atomically

SEAL = "# SHA-256 of what follows: "


def write_recipe_file(path: Path, first: str, toml: str) -> None:
    """Write a recipe as TOML below a comment, ``first``, and one with the hash of the rest."""
    write_text_atomically(path, f"# {first}\n{SEAL}{_hash(toml)}\n{toml}")


def is_as_written(path: Path) -> bool:
    """Say whether a file is one that `write_recipe_file` wrote, its first line aside."""
    lines = path.read_text(encoding="utf-8").split("\n", 2)
    return len(lines) == 3 and lines[1] == f"{SEAL}{_hash(lines[2])}"


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()
