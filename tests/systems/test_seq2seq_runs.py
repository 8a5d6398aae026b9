"""Encoder–decoder generators in a run: stages, a row, an answer, and items that were appended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.commands import Done
from tests.support.runs import linked, new_items, tiny
from trialigngr.pipeline.add_items import append_items
from trialigngr.runs.run import load

SMALL = {"num_layers": 1, "hidden_size": 16, "ffn_size": 16, "num_heads": 1, "epochs": 1}


def small(system: str, **changes: Any) -> dict[str, Any]:
    """Return the settings of a small generator, as `tiny` takes them."""
    return {f"{system}__{name}": value for name, value in (SMALL | changes).items()}


def test_a_run_trains_tiger_beside_the_generator_and_it_knows_new_items(
    tiny_run: Path, tmp_path: Path, cli: Callable[..., Done]
) -> None:
    run = linked(tiny_run, tmp_path / "run")
    done = cli(
        "run", "trialigngr-demo", "--out", run, *tiny(evaluate__systems=["popularity", "tiger"], **small("tiger"))
    )
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


def test_letter_has_sids_of_its_own_that_know_who_takes_what(
    tiny_run: Path, tmp_path: Path, cli: Callable[..., Done]
) -> None:
    run = linked(tiny_run, tmp_path / "run")
    own = small("letter", codebook_sizes=[6, 6, 6, 6]) | {"sids__letter__epochs": 2, "sasrec__epochs": 1}
    words = ("trialigngr-demo", "--out", run, *tiny(evaluate__systems=["letter"], **own))
    assert "letter_sids  to do" in cli("plan", *words).out
    done = cli("run", *words)
    assert (done.code, "sids: unchanged, kept" in done.err, "model: unchanged, kept" in done.err) == (0, True, True)
    opened = load(run)
    assert set(opened.read_stage_manifest("letter").parents) == {"catalog", "letter_sids"}
    assert set(opened.read_stage_manifest("letter_sids").parents) == {"embeddings", "sasrec"}
    assert opened.artifacts.load_sids("letter_sids").codebook_sizes == (6, 6, 6, 6)
    assert "LETTER" in (run / "report.html").read_text("utf-8")
    first = opened.artifacts.catalog.item_ids[0]
    assert opened.recommend([first], k=3, system="letter").num_beams == 20
    append_items(run, new_items(run, tmp_path / "new", 2))
    assert opened.refresh_catalog()
    asked = opened.recommend(["new_" + first, first], k=500, system="letter")
    assert [dropped.reason for dropped in asked.dropped] == ["unknown"]
    assert not any(item.item_id.startswith("new_") for item in asked)
    again = cli("run", *words, "--set", "letter.temperature=1.0")
    assert ("letter_sids: unchanged, kept" in again.err, "letter: done in" in again.err) == (True, True), again.err
