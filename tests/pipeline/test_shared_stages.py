"""Runs that stand side by side share the stages that are the same in both, and neither harms the other."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.breaking import Fault, Interrupted, broken, interrupt_at
from tests.support.commands import Done
from tests.support.runs import linked, tiny
from trialigngr.foundation import shared_stages
from trialigngr.foundation.artifact import check_stage, read_manifest
from trialigngr.foundation.sealed import seal_of
from trialigngr.recipes.recipe import read_recipe

pytestmark = pytest.mark.shared_stages
Cli = Callable[..., Done]
SHARED = ("shop", "captions", "interests", "embeddings", "sids")
SHORTER = tiny(train__max_steps=8)


def words(out: Path, *more: str) -> list[str]:
    return ["run", "trialigngr-demo", "--out", str(out), *SHORTER, *more]


def inodes(stage: Path) -> dict[str, int]:
    """Return name → inode of a stage's files; its manifest is its own."""
    return {name: (stage / name).stat().st_ino for name in read_manifest(stage).files}


@pytest.fixture
def first(tiny_run: Path, tmp_path: Path) -> Path:
    """Return a finished run whose place others may stand beside."""
    return linked(tiny_run, tmp_path / "first")


def test_an_ablation_pays_once_for_what_it_does_not_change(first: Path, tmp_path: Path, cli: Cli) -> None:
    alone = cli(*words(tmp_path / "elsewhere" / "alone"))
    done = cli(*words(tmp_path / "second"))
    assert (alone.code, done.code) == (0, 0), done.err
    assert "shared with" not in alone.err
    for name in SHARED:
        assert f"{name}: shared with first" in done.err
        assert inodes(tmp_path / "second" / name) == inodes(first / name)
    for name in ("catalog", "model", "evaluation"):
        assert f"{name}: done" in done.err
        assert not set(inodes(tmp_path / "second" / name).values()) & set(inodes(first / name).values())
    for name in (*SHARED, "catalog", "model", "evaluation"):
        made, wanted = (read_manifest(run / name) for run in (tmp_path / "second", tmp_path / "elsewhere" / "alone"))
        assert (made.fingerprint, made.content) == (wanted.fingerprint, wanted.content), name
    shutil.rmtree(first)
    for name in SHARED:
        check_stage(tmp_path / "second" / name)
    assert "unchanged, kept" in cli(*words(tmp_path / "second")).err
    assert cli("recommend", tmp_path / "second", "--history", "p0003").code == 0


def test_the_plan_says_what_is_shared(first: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli(*words(tmp_path / "second", "--until", "catalog")).code == 0
    told = cli("plan", "trialigngr-demo", "--out", tmp_path / "second", *SHORTER).out.splitlines()
    lines = {line.split()[0]: line for line in told}
    assert all(f"shared with {first}, " in lines[name] for name in ("captions", "interests", "embeddings", "sids"))
    assert not any("shared" in lines[name] for name in ("catalog", "model", "evaluation"))


def test_what_is_not_wanted_is_not_shared(first: Path, tmp_path: Path, cli: Cli) -> None:
    done = cli(*words(tmp_path / "second", "--until", "captions", "--no-shared-stages"))
    assert "captions: done" in done.err
    assert not set(inodes(tmp_path / "second" / "captions").values()) & set(inodes(first / "captions").values())
    other = cli(*words(tmp_path / "third", "--until", "embeddings", "--set", "embeddings.image_weight=0.3"))
    assert "interests: shared with" in other.err
    assert "embeddings: done" in other.err


def test_a_stage_is_copied_where_there_are_no_hard_links(
    first: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    done = cli(*words(tmp_path / "second", "--until", "captions"))
    assert "captions: shared with first" in done.err
    assert not set(inodes(tmp_path / "second" / "captions").values()) & set(inodes(first / "captions").values())
    check_stage(tmp_path / "second" / "captions")


def test_a_damaged_stage_is_made_and_not_shared(first: Path, tmp_path: Path, cli: Cli) -> None:
    table = first / "captions" / "captions.parquet"
    whole = table.read_bytes()
    table.unlink()  # a link to the session's run
    table.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    done = cli(*words(tmp_path / "second", "--until", "captions"))
    assert "cannot be shared" in done.err
    assert "captions: done" in done.err
    check_stage(tmp_path / "second" / "captions")


@pytest.mark.parametrize("name", ["../stolen", "/stolen"])
def test_a_manifest_leads_out_of_no_folder(first: Path, tmp_path: Path, cli: Cli, name: str) -> None:
    path = first / "captions" / "manifest.json"
    body = json.loads(path.read_text())
    body["files"][name] = body["files"]["captions.parquet"]
    body["sha256"] = seal_of(body)
    path.unlink()
    path.write_text(json.dumps(body))
    shutil.copy(first / "captions" / "captions.parquet", first / "stolen")
    done = cli(*words(tmp_path / "second", "--until", "captions"))
    assert (done.code, "names a file outside of it" in done.err) == (0, True), done.err
    assert not list((tmp_path / "second").rglob("stolen"))


def test_a_stage_with_a_link_in_it_is_not_shared(first: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "secret").write_text("mine")
    (first / "captions" / "more").symlink_to(tmp_path / "secret")
    done = cli(*words(tmp_path / "second", "--until", "captions"))
    assert "captions: done" in done.err
    assert {path.name for path in (tmp_path / "second" / "captions").iterdir()} == {"captions.parquet", "manifest.json"}


def test_a_neighbour_that_is_deleted_meanwhile_costs_nothing(
    first: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def link_late(source: Path, target: Path, **how: bool) -> None:
        shutil.rmtree(first)
        link(source, target, **how)

    monkeypatch.setattr(shared_stages.os, "link", link_late)
    done = cli(*words(tmp_path / "second", "--until", "catalog"))
    assert done.code == 0, done.err
    assert "shop: done" in done.err


def test_broken_off_at_any_change_while_it_shares(first: Path, tmp_path: Path) -> None:
    """What stands is whole at every moment, and the next attempt goes on."""
    run, source = tmp_path / "second", first / "captions"
    run.mkdir()
    for at in range(1, 40):
        try:
            with interrupt_at(run, at):
                shared_stages.link_stage(source, run / "captions")
        except Interrupted:
            if (run / "captions").exists():
                check_stage(run / "captions")
            continue
        break
    assert at > 5
    assert inodes(run / "captions") == inodes(source)
    assert [path.name for path in run.iterdir()] == ["captions"]


@pytest.mark.long
def test_killed_while_it_shares_and_run_again(first: Path, tmp_path: Path, cli: Cli) -> None:
    run, again = tmp_path / "second", words(tmp_path / "second", "--until", "captions")
    killed = broken(again, tmp_path, Fault("kill", run / ".captions", 3), shares_stages=True)
    assert killed.code == -9
    assert not (run / "captions").exists()
    assert "captions: shared with first" in cli(*again).err
    assert inodes(run / "captions") == inodes(first / "captions")
    assert not list(run.glob("*captions*half"))


def test_the_recipe_of_a_run_reads_the_same_whoever_made_its_stages(first: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli(*words(tmp_path / "second", "--until", "sids")).code == 0
    assert read_recipe(str(tmp_path / "second" / "recipe.toml")).train.max_steps == 8
    assert cli("sids", "stats", tmp_path / "second").out == cli("sids", "stats", first).out
