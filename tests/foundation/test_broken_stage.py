"""A stage that is broken off at any change on the disk, twice: never half in place, and whole the third time."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.breaking import Killed, struck
from trialigngr.foundation.artifact import Manifest, check_stage, make_stage
from trialigngr.foundation.config import Settings
from trialigngr.foundation.files import write_text_atomically

NEVER = 10_000


class Colour(Settings):
    name: str = "red"


def build(partial: Path) -> dict[str, Any]:
    """Write a file whole, one in a folder, and one as foreign code does, which a kill may leave half."""
    (partial / "more").mkdir(exist_ok=True)
    for name in ("first.txt", "more/second.txt"):
        write_text_atomically(partial / name, name)
    (partial / "third.txt").write_text("third")
    (partial / "third.txt").chmod(0o600)
    return {}


def make(folder: Path, colour: str = "red") -> Manifest:
    return make_stage(folder, "paint", Colour(name=colour), {}, build)


def test_every_change_is_met(tmp_path: Path) -> None:
    with struck("kill", tmp_path, NEVER) as strike:
        make(tmp_path / "stage")
    # The folder and its mark (a file is begun, then put in place), the build, the time, rights, manifest, its place.
    assert strike.seen > 15


class Stage:
    """A stage to be made where nothing, or another stage, stands."""

    def __init__(self, folder: Path, stood: str) -> None:
        self.folder = folder / "stage"
        if stood == "another stage":
            make(self.folder, "blue")

    def strike(self, kind: str, at: int) -> bool:
        """Break it off at a change; say whether there was one. What stands in its place is whole."""
        with suppress(Killed, OSError), struck(kind, self.folder.parent, at) as strike:
            make(self.folder)
        assert not self.folder.exists() or check_stage(self.folder).settings["name"] in ("red", "blue")
        return strike.seen >= at

    def end(self) -> tuple[str, set[Path]]:
        """Make it, and return what it holds and all that lies there."""
        content = make(self.folder).content
        return content, {path.relative_to(self.folder.parent) for path in self.folder.parent.rglob("*")}


STOOD = pytest.mark.parametrize("stood", ["nothing", "another stage"])


@STOOD
@pytest.mark.parametrize("kind", ["kill", "full"])
def test_broken_off_at_any_change(tmp_path: Path, stood: str, kind: str) -> None:
    unbroken, at, there = Stage(tmp_path / "unbroken", stood).end(), 0, True
    while there:
        at += 1
        stage = Stage(tmp_path / str(at), stood)
        there = stage.strike(kind, at)
        assert stage.end() == unbroken, at


@pytest.mark.long
@STOOD
def test_killed_twice_at_any_two_changes(tmp_path: Path, stood: str) -> None:
    unbroken, first, there = Stage(tmp_path / "unbroken", stood).end(), 0, True
    while there:
        first, second, there_again = first + 1, 0, True
        while there_again:
            second += 1
            stage = Stage(tmp_path / f"{first}-{second}", stood)
            there, there_again = stage.strike("kill", first), stage.strike("kill", second)
            assert stage.end() == unbroken, (first, second)
