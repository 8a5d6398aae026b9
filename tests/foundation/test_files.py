"""Files that are written whole, never through somebody's link, and say whether they are as they were written."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from trialigngr.foundation import sealed
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.files import HALF, refuse_links, remove_halves, whole_file, write_text_atomically
from trialigngr.foundation.sealed import array_hash, content_hash, read_json, write_json
from trialigngr.foundation.tables import read_table, read_told, write_table

BODY = {"b": [1, 2.5, None, "ä"], "a": {"10": 1, "2": True}}


def test_a_link_is_replaced_and_not_followed(tmp_path: Path):
    mine = tmp_path / "mine.txt"
    mine.write_text("ten years")
    (tmp_path / "metrics.json").symlink_to(mine)
    write_text_atomically(tmp_path / "metrics.json", "new")
    assert (mine.read_text(), (tmp_path / "metrics.json").read_text()) == ("ten years", "new")


def test_what_a_link_lies_in_wait_for_is_not_emptied(tmp_path: Path):
    """A link under the very name of the file that is being written."""
    mine, path = tmp_path / "mine.txt", tmp_path / "note.txt"
    mine.write_text("ten years")
    with whole_file(path) as half:
        name = half.name
    (tmp_path / name).symlink_to(mine)
    write_text_atomically(path, "new")
    assert (mine.read_text(), path.read_text()) == ("ten years", "new")
    assert not (tmp_path / name).exists()


def test_halves_of_a_kill_go_and_nothing_else(tmp_path: Path):
    for name in (f".a.1-2{HALF}", "b.txt", f"c{HALF}", ".d"):
        (tmp_path / name).write_text("x")
    remove_halves(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"b.txt", f"c{HALF}", ".d"}


def test_links_are_refused_wherever_they_are(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    refuse_links(tmp_path)
    (tmp_path / "a" / "b" / "link").symlink_to("/nowhere")
    with pytest.raises(ArtifactError, match="link is a link"):
        refuse_links(tmp_path)
    refuse_links(tmp_path, but=("b",))
    refuse_links(tmp_path / "nowhere")


def test_a_sealed_file_is_read_as_it_was_written_however_it_is_laid_out(tmp_path: Path):
    path = tmp_path / "a.json"
    body = write_json(path, BODY)
    assert read_json(path, "…") == body
    assert {key: value for key, value in body.items() if key != "sha256"} == BODY
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert read_json(path, "…") == body


def test_no_byte_of_a_sealed_file_can_change_what_it_says(tmp_path: Path):
    path = tmp_path / "a.json"
    body = write_json(path, BODY)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in (1, 32):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            try:
                found = read_json(path, "delete it.")
            except ArtifactError:
                continue
            assert found == body


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000, b"9" * 5000])
def test_what_is_no_sealed_file(tmp_path: Path, text: bytes):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(ArtifactError, match="is damaged: it is not as it was written; delete it"):
        read_json(tmp_path / "a.json", "delete it.")


def test_large_files_are_hashed_by_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sealed, "BLOCK", 1000)
    path, hashes = tmp_path / "large", set[str]()
    whole = bytes(range(250)) * 10
    for place in (None, 0, 999, 1000, 2499):
        changed = bytearray(whole)
        if place is not None:
            changed[place] ^= 1
        path.write_bytes(changed)
        hashes.add(content_hash(path))
    assert len(hashes) == 5
    path.write_bytes(b"abc")
    # FIPS 180-2 appendix B.1
    assert content_hash(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_hash_of_arrays_knows_names_and_bytes():
    one = {"a": b"12", "b": b"3"}
    assert array_hash(one) == array_hash({"b": b"3", "a": b"12"})
    assert len({array_hash(one), array_hash({"a": b"1", "b": b"23"}), array_hash({"a": b"12", "c": b"3"})}) == 3


@pytest.mark.parametrize("name", ["run[1]", "run*", "run?", "{a,b}", "~root", "a=1", "file:x", "x%20y", "**", "a\\b"])
def test_a_path_is_never_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.chdir(tmp_path)
    for number, folder in enumerate(("run1", "runs", "a", "b", name)):
        Path(folder).mkdir()
        write_table(pl.DataFrame({"number": [number]}), Path(folder) / "t.parquet", metadata={"told": folder})
    path = Path(name) / "t.parquet"
    assert read_table(path).to_dicts() == [{"number": 4}]
    assert read_told(path)["told"] == name


def test_what_is_no_table(tmp_path: Path):
    (tmp_path / "t.parquet").write_text("no")
    for read in (read_table, read_told):
        with pytest.raises(ArtifactError, match=r"t\.parquet cannot be read as Parquet"):
            read(tmp_path / "t.parquet")
