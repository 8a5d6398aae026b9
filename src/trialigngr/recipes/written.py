"""The recipe that stands in a run: with how to repeat the run, and a hash that tells whether it was changed since."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from trialigngr.foundation.artifact import RECIPE_FILE, is_run
from trialigngr.foundation.errors import ArtifactError, RecipeError
from trialigngr.foundation.files import write_text_atomically
from trialigngr.recipes.recipe import Recipe, read_recipe

SEAL = "# SHA-256 of what follows: "


def read_run_recipe(run: Path) -> Recipe:
    """Return the recipe that stands in a run; raise `ArtifactError` when there is none, or it cannot be read."""
    again = f"`trialigngr run RECIPE --out {run}`"
    if not (run / RECIPE_FILE).is_file():
        what = f"has lost its {RECIPE_FILE}" if is_run(run) else f"is not a run (it has no {RECIPE_FILE})"
        raise ArtifactError(f"{run} {what}; make one with {again}.")
    try:
        return read_recipe(str(run / RECIPE_FILE))
    except RecipeError as error:
        raise ArtifactError(f"{error} Mend it, or write it anew: {again} with the recipe that was run.") from None


def write_recipe_file(path: Path, first: str, toml: str) -> None:
    """Write a recipe as TOML below a comment, ``first``, and one with the hash of the rest."""
    write_text_atomically(path, f"# {first}\n{SEAL}{_hash_text(toml)}\n{toml}")


def is_as_written(path: Path) -> bool:
    """Return whether a file is one that `write_recipe_file` wrote, its first line aside."""
    lines = path.read_text(encoding="utf-8").split("\n", 2)
    return len(lines) == 3 and lines[1] == f"{SEAL}{_hash_text(lines[2])}"


def _hash_text(text: str) -> str:
    return sha256(text.encode()).hexdigest()
