"""Stages: kept when unchanged, made anew when changed, gone on with after an interruption, never half in place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from trialigngr.foundation import artifact
from trialigngr.foundation.artifact import (
    file_hash,
    fingerprint,
    make_stage,
    read_manifest,
    stage_status,
    write_text_atomically,
)
from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import ArtifactError


class Colour(Settings):
    name: str = "red"


class Builder:
    """Writes one file, counts its calls, and keeps what it found lying in the folder."""

    def __init__(self, fail: BaseException | None = None) -> None:
        self.calls, self.fail, self.found = 0, fail, set[str]()

    def __call__(self, partial: Path) -> dict[str, Any]:
        self.calls += 1
        self.found = {path.name for path in partial.iterdir()} - {".wanted"}
        (partial / "half.txt").write_text("half")
        if self.fail is not None:
            raise self.fail
        (partial / "whole.txt").write_text(f"call {self.calls}")
        return {"files": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "stage"


def made(folder: Path, builder: Builder, colour: str = "red", **parents: str) -> artifact.Manifest:
    return make_stage(folder, "paint", Colour(name=colour), parents, builder)


def test_built_once_and_kept(folder: Path):
    builder = Builder()
    first, again = made(folder, builder, wall="w1"), made(folder, builder, wall="w1")
    assert builder.calls == 1
    assert again == first == read_manifest(folder)
    assert first.settings == {"name": "red"}
    assert first.parents == {"wall": "w1"}
    assert first.facts["files"] == 1
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "half.txt", "whole.txt"}
    assert [path.name for path in folder.parent.iterdir()] == ["stage"]


@pytest.mark.parametrize(("colour", "parents"), [("blue", {"wall": "w1"}), ("red", {"wall": "w2"}), ("red", {})])
def test_other_settings_or_parents_build_anew(folder: Path, colour: str, parents: dict[str, str]):
    builder = Builder()
    made(folder, builder, wall="w1")
    assert made(folder, builder, colour, **parents).settings == {"name": colour}
    assert builder.calls == 2
    assert builder.found == set()
    assert (folder / "whole.txt").read_text() == "call 2"


@pytest.mark.parametrize("failure", [ValueError("a bug"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_interrupted_then_gone_on_with(folder: Path, failure: BaseException):
    with pytest.raises(type(failure)):
        made(folder, Builder(failure))
    assert not folder.exists()
    wanted = fingerprint("paint", {"name": "red"}, {})
    assert stage_status(folder, wanted) == "begun"
    second = Builder()
    made(folder, second)
    assert second.found == {"half.txt"}
    assert stage_status(folder, wanted) == "done"


def test_what_another_fingerprint_left_is_thrown_away(folder: Path):
    with pytest.raises(ValueError, match="a bug"):
        made(folder, Builder(ValueError("a bug")))
    second = Builder()
    made(folder, second, "blue")
    assert second.found == set()


def test_the_old_stage_stands_until_the_new_one_is_whole(folder: Path):
    made(folder, Builder())
    with pytest.raises(ValueError, match="a bug"):
        made(folder, Builder(ValueError("a bug")), "blue")
    assert read_manifest(folder).settings == {"name": "red"}
    assert (folder / "whole.txt").read_text() == "call 1"


@pytest.mark.parametrize("old_is_gone", [False, True])
def test_killed_between_manifest_and_move(folder: Path, monkeypatch: pytest.MonkeyPatch, old_is_gone: bool):
    """Everything was written; only the move was missing. It is made up for, without building again."""
    made(folder, Builder())

    def killed(_partial: Path, _folder: Path) -> None:
        if old_is_gone:
            shutil.rmtree(folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(artifact, "_settle", killed)
        with pytest.raises(KeyboardInterrupt):
            made(folder, Builder(), "blue")
    second = Builder()
    assert made(folder, second, "blue").settings == {"name": "blue"}
    assert second.calls == 0
    assert [path.name for path in folder.parent.iterdir()] == ["stage"]
    assert not (folder / ".wanted").exists()


def test_a_manifest_of_another_format_version(folder: Path):
    made(folder, Builder())
    body = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(body | {"version": 99}))
    for use in (lambda: read_manifest(folder), lambda: made(folder, Builder())):
        with pytest.raises(ArtifactError, match="format version 99, this is version 2"):
            use()
    assert (folder / "whole.txt").exists()


@pytest.mark.parametrize("text", ["", "{", '{"kind": "paint"}', "[]", "null"])
def test_a_manifest_that_is_none(folder: Path, text: str):
    folder.mkdir()
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match="cannot be read as a manifest"):
        read_manifest(folder)


def test_a_folder_without_manifest(folder: Path):
    with pytest.raises(ArtifactError, match="no finished stage"):
        read_manifest(folder)
    assert stage_status(folder, "x") == "to do"
    folder.mkdir()
    assert stage_status(folder, "x") == "changed"


def test_fingerprints_depend_on_everything_and_on_nothing_else():
    assert fingerprint("a", {"x": 1, "y": 2}, {"p": "q"}) == fingerprint("a", {"y": 2, "x": 1}, {"p": "q"})
    others = [fingerprint("b", {"x": 1}, {}), fingerprint("a", {"x": 2}, {}), fingerprint("a", {"x": 1}, {"p": "q"})]
    assert len({fingerprint("a", {"x": 1}, {}), *others}) == 4


def test_file_hash_is_of_the_content(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    # First 16 digits of SHA-256("abc"), FIPS 180-2 appendix B.1
    assert file_hash(tmp_path / "a") == "ba7816bf8f01cfea"


def test_text_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "note.txt"
    write_text_atomically(path, "old")

    def full(self: Path, *_: Any, **__: Any) -> None:
        self.write_bytes(b"ne")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space"):
            write_text_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["note.txt"]
