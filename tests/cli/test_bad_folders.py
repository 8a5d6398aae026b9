"""Folders that are none, are somebody else's, in use, or of another version: refused, and left as they were."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.data_folder import Cli, Shop, the_sentence
from tests.support.runs import tiny
from trialigngr.foundation.artifact import FORMAT_VERSION
from trialigngr.foundation.locks import lock_file


def test_no_data_folder(shop: Shop, cli: Cli) -> None:
    shop.data = shop.data / "nowhere"
    assert "There is no data folder" in shop.refused()
    assert not shop.out.exists()


def test_out_is_a_file(shop: Shop) -> None:
    shop.out.write_text("mine")
    assert "is a file" in the_sentence(shop.run())
    assert shop.out.read_text() == "mine"


def test_out_lies_below_a_file(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    shop.out = tmp_path / "file" / "run"
    assert "Not a directory" in the_sentence(shop.run())


def test_out_is_somebody_else_s_folder(shop: Shop) -> None:
    (shop.out / "model").mkdir(parents=True)
    (shop.out / "model" / "thesis.txt").write_text("ten years")
    assert "not a run" in the_sentence(shop.run())
    assert (shop.out / "model" / "thesis.txt").exists()


def test_a_folder_in_a_run_that_is_no_stage_is_not_replaced(shop: Shop) -> None:
    assert shop.run().code == 0
    (shop.out / "captions").mkdir()
    (shop.out / "captions" / "thesis.txt").write_text("ten years")
    assert "in the way" in the_sentence(shop.run(until="captions"))
    assert (shop.out / "captions" / "thesis.txt").exists()


@contextlib.contextmanager
def writing(out: Path) -> Iterator[None]:
    out.mkdir(exist_ok=True)
    lock = lock_file(out / ".lock")
    yield
    lock.release()


def test_two_processes_on_one_run(shop: Shop) -> None:
    with writing(shop.out):
        assert "Another process is writing to" in shop.refused()
    assert shop.run().code == 0


def edit_manifest(stage: Path, **changes: Any) -> None:
    path = stage / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")


@pytest.mark.parametrize("changes", [{"version": 99}, {"version": 0}, {"version": 99, "new_field": "of the future"}])
def test_a_run_of_another_format_version(cli: Cli, copied_run: Path, changes: dict[str, Any]) -> None:
    for stage in ("sids", "model"):
        edit_manifest(copied_run / stage, **changes)
    before = {path: path.read_bytes() for path in copied_run.rglob("*") if path.is_file()}
    for words in (
        ["run", "trialigngr-demo", "--out", copied_run, *tiny()],
        ["recommend", copied_run, "--history", "p0003"],
        ["report", copied_run],
        ["plan", "trialigngr-demo", "--out", copied_run],
    ):
        done = cli(*words)
        complaint = [line for line in done.err.splitlines() if line.startswith("Error: ")]
        assert (done.code, len(complaint)) == (2, 1)
        assert f"format version {changes['version']}, this is version {FORMAT_VERSION}" in complaint[0]
    assert {path: path.read_bytes() for path in copied_run.rglob("*") if path.is_file()} == before


def test_a_manifest_that_is_none(cli: Cli, copied_run: Path) -> None:
    (copied_run / "sids" / "manifest.json").write_text("[]")
    sentence = the_sentence(cli("run", "trialigngr-demo", "--out", copied_run, *tiny()))
    assert "cannot be read as a manifest" in sentence


def test_a_run_that_is_none(cli: Cli, tmp_path: Path) -> None:
    for words in (["recommend", tmp_path, "--history", "p0003"], ["evaluate", tmp_path], ["report", tmp_path]):
        assert "is not a run" in the_sentence(cli(*words))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(shop: Shop, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "Permission denied" in the_sentence(shop.run())
    finally:
        tmp_path.chmod(0o700)
