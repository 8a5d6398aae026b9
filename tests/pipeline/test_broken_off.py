"""A kill or a full disk in the middle of any stage: nothing half-written, and the next run ends as an unbroken one."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.breaking import Fault, broken
from tests.support.runs import tiny

# One real kill of a stage is part of make test, beside those of training and of the response cache; those of all stages
# take long. What stages share is tried at every change on the disk in tests/foundation/test_broken_stage.py.
STAGES = [
    "shop",
    "catalog",
    "captions",
    "interests",
    "embeddings",
    "sids",
    "model",
    "counts",
    "popularity",
    "evaluation",
]
FULL = "The disk is full. Free some space and run the same command again; finished stages are kept."


def words(run: Path, *more: str) -> list[str]:
    """Return the words of a run that checkpoints every step."""
    return ["run", "trialigngr-demo", "--out", str(run), *tiny(train__checkpoint_seconds=0), *more]


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that nothing befell, made in the same way as the broken ones."""
    folder = tmp_path_factory.mktemp("unbroken")
    done = broken(words(folder / "run"), folder, Fault("count", folder / "run"))
    assert done.code == 0, done.err
    return folder / "run"


def what_stands(stage: Path) -> dict[str, Any]:
    """Return a stage's files by name; of what tells the time only the rest."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in stage.rglob("*") if path.is_file()):
        name = path.relative_to(stage).as_posix()
        if name == "manifest.json":
            body = json.loads(path.read_text("utf-8"))
            body["facts"].pop("seconds")
            body["files"].pop("metrics.jsonl", None)
            del body["sha256"]
            found[name] = body
        elif name == "metrics.jsonl":  # a loss is the mean since the last line, or since the run went on
            lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            found[name] = [(line["step"], line.get("valid")) for line in lines]
        else:
            found[name] = path.read_bytes()
    return found


def without(unbroken: Path, stage: str, folder: Path) -> Path:
    """Return a copy of the unbroken run that lacks a stage and all that stands at the top."""
    run = Path(shutil.copytree(unbroken, folder / "run"))
    shutil.rmtree(run / stage)
    for path in (path for path in run.iterdir() if path.is_file()):
        path.unlink()
    (run / "recipe.toml").write_text("", encoding="utf-8")
    return run


def changes(unbroken: Path, stage: str) -> int:
    """Return how often making a stage changed something on the disk."""
    listed = unbroken.with_name("changes").read_text("utf-8").splitlines()
    return sum(path.startswith(f"{unbroken / stage}") for path in listed)


def test_a_killed_stage_goes_on_with_its_chunks(tiny_run: Path, tmp_path: Path) -> None:
    run = without(tiny_run, "captions", tmp_path)
    until = ["run", "trialigngr-demo", "--out", str(run), *tiny(), "--until", "captions"]
    killed = broken(until, tmp_path, Fault("kill", run / "captions", 20))
    assert killed.code == -9
    assert not (run / "captions").exists()
    assert len(list((run / "captions.partial" / "chunks").glob("[0-9]*.json"))) == 2
    done = broken(until, tmp_path)
    assert (done.code, "captions: going on with what an interrupted run left" in done.err) == (0, True), done.err
    assert what_stands(run / "captions") == what_stands(tiny_run / "captions")


@pytest.mark.long
@pytest.mark.parametrize("stage", STAGES)
def test_killed_then_full_then_full_again_then_as_unbroken(stage: str, unbroken: Path, tmp_path: Path) -> None:
    total = changes(unbroken, stage)
    assert total >= 5  # a folder, its mark, something of its own, its manifest, its place
    run = without(unbroken, stage, tmp_path)
    until = words(run, "--until", stage)

    killed = broken(until, tmp_path, Fault("kill", run / stage, total // 2 + 1))
    assert killed.code == -9
    assert not (run / stage).exists()

    full = broken(until, tmp_path, Fault("full", run / stage, 2))
    assert (full.code, full.err.splitlines()[-1]) == (2, f"Error: {FULL}")
    assert not (run / stage).exists()

    largest = max(path.stat().st_size for path in (unbroken / stage).rglob("*"))
    full = broken(until, tmp_path, Fault("limit", run / stage, min(largest // 2, 100_000)))
    assert full.code == 2
    assert re.match(r"Error: A file (grew too large|could not be written, as when the disk is full)\. Free some space",
                    full.err.splitlines()[-1])  # fmt: skip
    assert "Traceback" not in full.err
    assert not (run / stage).exists()

    done = broken(words(run), tmp_path)
    assert done.code == 0, done.err
    for name in STAGES:
        assert what_stands(run / name) == what_stands(unbroken / name), name
    for name in ("metrics.json", "sids.parquet", "recommendations.parquet"):
        assert (run / name).read_bytes() == (unbroken / name).read_bytes(), name
    assert {path.name for path in run.iterdir()} == {path.name for path in unbroken.iterdir()}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of 8 MB, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.long
@pytest.mark.parametrize("stage", ["embeddings", "sids", "model", "evaluation"])
def test_a_disk_that_is_really_full(stage: str, unbroken: Path, small_disk: Path, tmp_path: Path) -> None:
    run = without(unbroken, stage, small_disk)
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    ballast.write_bytes(b"\0" * (ballast.stat().st_size - 3 * 4096))  # room for a recipe, a lock and a little more
    full = broken(words(run, "--until", stage), tmp_path)
    assert (full.code, full.err.splitlines()[-1]) == (2, f"Error: {FULL}")
    assert not (run / stage).exists()
    ballast.unlink()
    assert broken(words(run, "--until", stage), tmp_path).code == 0
    assert what_stands(run / stage) == what_stands(unbroken / stage)
