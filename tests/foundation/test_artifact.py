"""Stages: kept when unchanged, made anew when changed, gone on with after an interruption, never half in place."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trialigngr.foundation import artifact
from trialigngr.foundation.artifact import (
    FORMAT_VERSION,
    check_file,
    check_stage,
    compute_fingerprint,
    hash_file,
    make_stage,
    read_manifest,
    read_stage_status,
)
from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.files import HALF, write_text_atomically
from trialigngr.foundation.stopwatch import spent_before


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
    wanted = compute_fingerprint("paint", {"name": "red"}, {})
    assert read_stage_status(folder, wanted) == "begun"
    second = Builder()
    made(folder, second)
    assert second.found == {"half.txt"}
    assert read_stage_status(folder, wanted) == "done"


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
        patch.setattr(artifact, "move_into_place", killed)
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
        with pytest.raises(ArtifactError, match=f"format version 99, this is version {FORMAT_VERSION}"):
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
    assert read_stage_status(folder, "x") == "to do"
    folder.mkdir()
    assert read_stage_status(folder, "x") == "changed"


def test_fingerprints_depend_on_everything_and_on_nothing_else():
    assert compute_fingerprint("a", {"x": 1, "y": 2}, {"p": "q"}) == compute_fingerprint(
        "a", {"y": 2, "x": 1}, {"p": "q"}
    )
    others = [
        compute_fingerprint("b", {"x": 1}, {}),
        compute_fingerprint("a", {"x": 2}, {}),
        compute_fingerprint("a", {"x": 1}, {"p": "q"}),
    ]
    assert len({compute_fingerprint("a", {"x": 1}, {}), *others}) == 4


def test_file_hash_is_of_the_content(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    # First 16 digits of SHA-256("abc"), FIPS 180-2 appendix B.1
    assert hash_file(tmp_path / "a") == "ba7816bf8f01cfea"


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


def built(folder: Path, text: str, contents: dict[str, str] | None = None, **how: Any) -> artifact.Manifest:
    def build(to: Path) -> dict[str, Any]:
        (to / "said.txt").write_text(text)
        (to / "metrics.jsonl").write_text(f"{time.monotonic()}")
        return {}

    return make_stage(folder, "say", Colour(), {}, build, contents or {}, **how)


def test_the_content_is_of_what_came_out_and_not_of_how_it_went(tmp_path: Path):
    one, same, other = built(tmp_path / "a", "yes"), built(tmp_path / "b", "yes"), built(tmp_path / "c", "no")
    assert one.content == same.content != other.content
    assert one.files["metrics.jsonl"] != same.files["metrics.jsonl"]
    # SHA-256("yes"), by sha256sum
    wanted = "8a798890fe93817163b10b5f7bd2ca4d25d84c52739a645a889c173eee7d9d3d"
    assert one.files["said.txt"] == {"size": 3, "sha256": wanted}


def test_a_stage_is_made_again_when_its_parent_came_out_otherwise(folder: Path):
    built(folder, "first", {"wall": "c1"})
    assert built(folder, "second", {"wall": "c1"}).contents == {"wall": "c1"}
    assert (folder / "said.txt").read_text() == "first"
    wanted = read_manifest(folder).fingerprint
    assert read_stage_status(folder, wanted, None) == "depends"
    assert read_stage_status(folder, wanted, {"wall": "c2"}) == "changed"
    assert built(folder, "second", {"wall": "c2"}).contents == {"wall": "c2"}
    assert (folder / "said.txt").read_text() == "second"


def test_work_on_what_a_parent_was_is_not_gone_on_with(folder: Path):
    with pytest.raises(ValueError, match="a bug"):
        make_stage(folder, "paint", Colour(), {}, Builder(ValueError("a bug")), {"wall": "c1"})
    second = Builder()
    make_stage(folder, "paint", Colour(), {}, second, {"wall": "c2"})
    assert second.found == set()


def test_made_again_with_what_later_stages_read(folder: Path):
    def made_of(text: str, *, rebuild: bool = False) -> str:
        return built(folder, text, read=lambda to: (to / "said.txt").read_text()[0], rebuild=rebuild).content

    assert made_of("abc") == made_of("axy") == "a"
    assert (folder / "said.txt").read_text() == "abc", "it stands"
    assert made_of("axy", rebuild=True) == "a"
    assert (folder / "said.txt").read_text() == "axy"
    assert made_of("b", rebuild=True) == "b"


DAMAGES: dict[str, Callable[[Path], object]] = {
    "has 0 bytes": lambda path: path.write_bytes(b""),
    "is not what was written": lambda path: path.write_bytes(b"yeS"),
    "is missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("problem", DAMAGES)
def test_a_damaged_file_is_told_by_whoever_opens_it(folder: Path, problem: str):
    built(folder, "yes")
    assert check_file(folder / "said.txt").read_text() == "yes"
    DAMAGES[problem](folder / "said.txt")
    for use in (lambda: check_file(folder / "said.txt"), lambda: check_stage(folder), lambda: built(folder, "yes")):
        with pytest.raises(ArtifactError, match=rf"{folder} is damaged: said.txt {problem}.*; delete {folder} and run"):
            use()
    assert check_stage(folder, but=("said.txt",)).kind == "say"


def test_a_file_that_no_stage_wrote_is_opened_as_it_is(folder: Path):
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    assert check_file(folder / "mine.txt") == folder / "mine.txt"
    with pytest.raises(ArtifactError, match=r"holds no other\.txt"):
        check_file(folder / "other.txt")


@pytest.mark.parametrize("change", [{"facts": {"files": 2}}, {"settings": {}}, {"sha256": "0"}])
def test_a_changed_manifest_is_told(folder: Path, change: dict[str, Any]):
    made(folder, Builder())
    path = folder / "manifest.json"
    body = json.loads(path.read_text())
    path.write_text(json.dumps(body))
    assert read_manifest(folder).facts["files"] == 1, "how it is laid out does not count"
    path.write_text(json.dumps(body | change))
    with pytest.raises(ArtifactError, match=f"cannot be read as a manifest; delete {folder}"):
        read_manifest(folder)


def test_seconds_of_all_interruptions_count(folder: Path, monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr("trialigngr.foundation.stopwatch.time", SimpleNamespace(monotonic=lambda: now[0]))

    def working(seconds: float, fail: BaseException | None = None) -> Callable[[Path], dict[str, Any]]:
        def build(to: Path) -> dict[str, Any]:
            now[0] += seconds
            return Builder(fail)(to)

        return build

    for seconds in (1000.0, 200.0):
        with pytest.raises(KeyboardInterrupt):
            make_stage(folder, "paint", Colour(), {}, working(seconds, KeyboardInterrupt()))
    assert make_stage(folder, "paint", Colour(), {}, working(34.5)).facts["seconds"] == 1234.5


def test_a_kill_loses_little_of_the_time(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trialigngr.foundation.stopwatch.BEAT", 0.01)
    seen = [0.0]

    def build(to: Path) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while seen[-1] < 0.2 and time.monotonic() < deadline:
            time.sleep(0.02)
            seen.append(spent_before(to / ".wanted"))  # what a kill at this moment would leave
        return {}

    make_stage(folder, "paint", Colour(), {}, build)
    assert seen[-1] >= 0.2


@pytest.mark.parametrize("text", ["", "w", "w\nx", "w\n-5", "w\nnan", "w\ninf", "w\n1e99"])
def test_no_time_is_told_by(tmp_path: Path, text: str):
    (tmp_path / "mark").write_text(text)
    assert spent_before(tmp_path / "mark") == 0.0


def test_links_in_a_stage_that_was_begun_are_not_followed(folder: Path, tmp_path: Path):
    mine, partial = tmp_path / "mine.txt", folder.with_name("stage.partial")
    mine.write_text("ten years")
    with pytest.raises(ValueError, match="a bug"):
        made(folder, Builder(ValueError("a bug")))
    (partial / "whole.txt").symlink_to(mine)
    with pytest.raises(ArtifactError, match=r"whole\.txt is a link"):
        made(folder, Builder())
    (partial / "whole.txt").unlink()
    partial.rename(tmp_path / "elsewhere")
    partial.symlink_to(tmp_path / "elsewhere")
    made(folder, Builder())
    assert (tmp_path / "elsewhere" / "half.txt").exists(), "the link went, and not what it led to"
    assert mine.read_text() == "ten years"


def test_files_have_the_rights_of_new_files(folder: Path):
    def build(to: Path) -> dict[str, Any]:
        (to / "shy.txt").write_text("x")
        (to / "shy.txt").chmod(0o600)
        (to / f".of a kill{HALF}").write_text("x")
        return {}

    before = os.umask(0o027)
    try:
        make_stage(folder, "paint", Colour(), {}, build)
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "manifest.json": 0o640, "shy.txt": 0o640,
    }  # fmt: skip
