"""What stands in a run is of one run, in whatever folder, and nothing outside is touched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.support.commands import Done
from tests.support.long import mark_long
from tests.support.runs import linked, new_items, tiny
from trialigngr.foundation.artifact import read_manifest
from trialigngr.foundation.files import HALF
from trialigngr.runs.run import load
from trialigngr.train.loop import Trainer

Cli = Callable[..., Done]
RECIPE = "trialigngr-demo"


def test_figures_are_of_the_model_that_recommends(
    tiny_run: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that came out otherwise, as by other code, is tested anew; one that came out the same is not."""
    run, again = linked(tiny_run, tmp_path / "run"), ["run", RECIPE, "--out", tmp_path / "run", *tiny()]
    shutil.rmtree(run / "model")
    assert "evaluation   depends" in cli("plan", *again[1:]).out
    done = cli(*again)
    assert "model: done" in done.err
    assert "evaluation: unchanged, kept" in done.err
    shutil.rmtree(run / "model")
    with monkeypatch.context() as other_code:
        other_code.setattr(Trainer, "learning_rate_at", lambda _self, _step: 0.05)
        done = cli(*again, "--until", "model")
    assert (done.code, (run / "metrics.json").exists()) == (0, False)
    for words in (["evaluate", run], ["report", run]):
        done = cli(*words)
        assert (done.code, "are of another model" in done.err or "no metrics.json" in done.err) == (2, True), done.err
    done = cli(*again)
    assert "evaluation: done" in done.err
    assert (run / "metrics.json").read_bytes() != (tiny_run / "metrics.json").read_bytes()
    assert cli("evaluate", run).code == 0
    shutil.rmtree(run / "model")
    assert "evaluation: done" in cli(*again).err
    assert (run / "metrics.json").read_bytes() == (tiny_run / "metrics.json").read_bytes()


@pytest.mark.parametrize("name", mark_long(["run[1]", "run*?", "~root"], but=["run[1]"]))
def test_the_name_of_a_run_is_no_pattern(
    tiny_run: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for other in ("run1", "runs"):
        folder = linked(tiny_run, tmp_path / other)
        for stage in ("catalog", "sids"):
            shutil.rmtree(folder / stage)
    linked(tiny_run, tmp_path / name)
    run = Path(name)  # relative, as people give it
    wanted = cli("recommend", tiny_run, "--history", "p0003", "-k", 3).out
    assert cli("recommend", run, "--history", "p0003", "-k", 3).out == wanted
    assert cli("evaluate", run).code == 0
    shutil.rmtree(run / "evaluation")
    assert cli("run", RECIPE, "--out", run, *tiny()).code == 0
    assert cli("sids", "append", run, new_items(tiny_run, tmp_path / "new[1]", 2)).code == 0
    assert "new_p0001" in cli("recommend", run, "--history", "p0003,new_p0000", "-k", 99).out
    assert {path.name for path in tmp_path.iterdir()} == {name, "run1", "runs", "new[1]"}


@pytest.mark.parametrize("place", [".lock", "appended", "seeds", "images"])
def test_a_link_in_a_run_leads_nowhere(tiny_run: Path, tmp_path: Path, cli: Cli, place: str) -> None:
    run, mine = linked(tiny_run, tmp_path / "run"), tmp_path / "mine"
    if place == ".lock":
        mine.write_text("ten years")
        (run / place).unlink(missing_ok=True)
    else:
        mine.mkdir()
    (run / place).symlink_to(mine)
    for words in (["sids", "remove", run, "p0003"], ["run", RECIPE, "--out", run, *tiny()]):
        done = cli(*words)
        assert (done.code, f"{run / place} is " in done.err, "link" in done.err) == (2, True, True), done.err
    assert mine.read_text() == "ten years" if place == ".lock" else not any(mine.iterdir())


def test_what_a_kill_left_of_files_at_the_top_goes(tiny_run: Path, tmp_path: Path, cli: Cli) -> None:
    run = linked(tiny_run, tmp_path / "run")
    (run / f".sids.parquet.123-4{HALF}").write_text("PAR")
    assert cli("sids", "remove", run, "p0003").code == 0
    assert not [path.name for path in run.iterdir() if path.name.startswith(".") and path.name != ".lock"]


def test_all_files_of_a_run_have_the_rights_of_new_files(tiny_run: Path) -> None:
    (tiny_run / ".lock").stat()
    rights = {path.stat().st_mode & 0o777 for path in tiny_run.rglob("*") if path.is_file()}
    assert rights == {0o666 & ~_umask()}


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


@pytest.mark.parametrize(
    ("kind", "values"),
    mark_long(
        [("lists", [["x", "y"]]), ("text", ["a,b"]), ("numbers", [1.5]), ("records", [{"a": 1}]), ("nothing", [None])],
        but=[("lists", [["x", "y"]]), ("records", [{"a": 1}])],
    ),
)
def test_attributes_never_decide_whether_a_run_can_be_served(
    tiny_run: Path, tmp_path: Path, cli: Cli, kind: str, values: list[object]
) -> None:
    run = linked(tiny_run, tmp_path / "run")
    for number, tag in enumerate([values * 3, [1, 2, 3], ["x", "y", "z"]]):
        new = new_items(run, tmp_path / f"new{number}", 3, tag=pl.Series(tag))
        table = pl.read_parquet(new / "items.parquet").with_columns(item_id=f"{number}_" + pl.col("item_id"))
        table.write_parquet(new / "items.parquet")
        done = cli("sids", "append", run, new)
        assert done.code == 0, (kind, done.err)
        done = cli("recommend", run, "--history", f"{number}_new_p0001", "-k", 2)
        assert done.code == 0, (kind, done.err)
    assert cli("sids", "remove", run, "0_new_p0001").code == 0
    catalog = load(run).catalog_snapshot.catalog
    assert catalog[catalog.find_row("2_new_p0001")].attributes["tag"] == "y"


def test_the_page_tells_the_seconds_of_all_parts(copied_run: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(copied_run / "model")
    with monkeypatch.context() as broken:
        broken.setattr(Trainer, "_log_validation", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        assert cli("run", RECIPE, "--out", copied_run, *tiny()).code == 130
    mark = copied_run / "model.partial" / ".wanted"
    first, seconds = mark.read_text().splitlines()
    assert float(seconds) > 0
    mark.write_text(f"{first}\n1234.5\n")
    assert cli("run", RECIPE, "--out", copied_run, *tiny()).code == 0
    assert 1234.5 < read_manifest(copied_run / "model").facts["seconds"] < 1834.5


def test_metrics_say_whether_they_are_as_they_were_written(tiny_run: Path) -> None:
    assert set(json.loads((tiny_run / "metrics.json").read_text("utf-8"))) >= {"test", "sha256"}
