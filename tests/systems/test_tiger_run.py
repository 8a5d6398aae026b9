"""TIGER in a run: a stage, a row, an answer, and items that were appended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.commands import Done
from tests.support.runs import linked, new_items, tiny
from trialigngr.pipeline.add_items import append_items
from trialigngr.runs.run import load

SMALL = {
    f"tiger__{name}": value
    for name, value in {"num_layers": 1, "hidden_size": 16, "ffn_size": 16, "num_heads": 1, "epochs": 1}.items()
}


def test_a_run_trains_it_beside_the_generator_and_it_knows_new_items(
    tiny_run: Path, tmp_path: Path, cli: Callable[..., Done]
) -> None:
    run = linked(tiny_run, tmp_path / "run")
    done = cli("run", "trialigngr-demo", "--out", run, *tiny(evaluate__systems=["popularity", "tiger"], **SMALL))
    assert (done.code, "model: unchanged, kept" in done.err, "tiger: done in" in done.err) == (0, True, True), done.err
    opened = load(run)
    assert list(opened.metrics["baselines"]) == ["popularity", "tiger"]
    assert set(opened.read_stage_manifest("tiger").parents) == {"catalog", "sids"}
    assert "TIGER" in (run / "report.html").read_text("utf-8")
    first = opened.artifacts.catalog.item_ids[0]
    known = opened.recommend([first], k=500, system="tiger")
    append_items(run, new_items(run, tmp_path / "new", 3))
    assert opened.refresh_catalog()
    grown = opened.recommend([first], k=500, system="tiger")
    new = {item.item_id for item in grown} - {item.item_id for item in known}
    assert len(new) == 3
    assert opened.recommend([new.pop()], k=3, system="tiger").history_used != ()
    said = cli("recommend", run, "--history", first, "--system", "tiger", "-k", 3)
    assert (said.code, len(said.out.splitlines())) == (0, 3), said.err
