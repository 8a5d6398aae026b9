"""What a run tells beside HR and NDCG: its lists, its slices, its protocol; and lists longer than the beams."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks.decoding.exact_ranking import compare_beams_with_exact
from tests.support.commands import Done
from tests.support.runs import another_fingerprint, tiny
from trialigngr.evaluate.target_lists import TargetLists
from trialigngr.evaluate.target_ranks import ITEM, SEEN_MASKED, TargetRanks
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.sealed import write_json
from trialigngr.metrics.ranks import mrr
from trialigngr.report.render import format_protocol_rows
from trialigngr.runs.run import load
from trialigngr.studies.diagnose import diagnose_run

Cli = Callable[..., Done]


def body(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "metrics.json").read_text("utf-8")))


def test_lists_are_those_that_are_recommended(tiny_run: Path) -> None:
    parts = load(tiny_run).artifacts
    lists = TargetLists.load(tiny_run / "evaluation" / "lists.parquet").lists
    table = pl.read_parquet(tiny_run / "recommendations.parquet")
    assert [parts.catalog.find_row(item_id) for item_id in table["item_id"]] == lists["generator"][
        ITEM
    ].ravel().tolist()
    assert body(tiny_run)["lists"]["generator"]["Coverage@10"] == round(
        table["item_id"].n_unique() / len(parts.catalog), 6
    )
    popular = np.argsort(-parts.histories.count_train_items(len(parts.catalog)), kind="stable")[:5]
    counts = parts.histories.count_train_items(len(parts.catalog))
    assert counts[lists["popularity"][ITEM][0, :5]].tolist() == counts[popular].tolist()


def test_masked_lists_hold_nothing_seen(tiny_run: Path) -> None:
    parts = load(tiny_run).artifacts
    lists = TargetLists.load(tiny_run / "evaluation" / "lists.parquet").lists
    for system, ways in lists.items():
        seen = parts.histories.build_queries(parts.histories.list_targets("test")).items
        twice = [set(rows.tolist()) & set(own.tolist()) for rows, own in zip(ways[SEEN_MASKED], seen, strict=True)]
        assert not any(twice), system


def test_invalid_is_measured_and_nought(tiny_run: Path) -> None:
    found = body(tiny_run)
    assert found["protocol"]["invalid_rate"] == 0.0
    assert {way[system]["invalid"] for way in (found["lists"], found["lists_seen_masked"]) for system in way} == {0.0}


def test_the_page_has_a_name_and_a_sentence_for_all_of_the_protocol(tiny_run: Path) -> None:
    rows = format_protocol_rows(body(tiny_run)["protocol"])
    assert [name for name, meaning, _ in rows if not meaning] == []
    assert not [name for name, _, _ in rows if set("._") & set(name)]


def test_slices_add_up_to_the_whole(tiny_run: Path) -> None:
    found = body(tiny_run)
    for kind in ("items", "history"):
        own = [part for part in found["slices"] if kind in part["name"]]
        assert sum(part["targets"] for part in own) == found["protocol"]["test_targets"]
        heads = {"generator": found["test_seen_masked"], **found["baselines_seen_masked"]}
        for system, whole in heads.items():
            hits = sum(part["targets"] * part["figures"][system]["HR@10"]["value"] for part in own)
            assert hits == pytest.approx(found["protocol"]["test_targets"] * whole["HR@10"]["value"], abs=1e-3)


def test_evaluate_prints_slices_when_asked(tiny_run: Path, cli: Cli) -> None:
    plain, sliced = cli("evaluate", tiny_run), cli("evaluate", tiny_run, "--slices")
    assert plain.code == sliced.code == 0, sliced.err
    assert "invalid 0.00%" in plain.out
    assert "head items" not in plain.out
    assert "head items" in sliced.out
    assert "head items" in (tiny_run / "report.html").read_text("utf-8")


def test_lists_longer_than_the_beams_take_more_beams(copied_run: Path, cli: Cli) -> None:
    done = cli("run", "trialigngr-demo", "--out", copied_run, *tiny(evaluate__ks=[30]))
    assert done.code == 0, done.err
    assert "decode.num_beams = 20 cannot fill lists of 30" in done.err
    found = body(copied_run)
    assert found["protocol"]["num_beams"] == 30
    assert {"HR@5", "HR@10", "MRR@30", "NDCG@30"} <= set(found["test"])
    assert found["lists"]["generator"]["short"] == 0
    assert found["lists"]["generator"]["Coverage@30"] >= found["lists"]["generator"]["Coverage@10"]


def test_a_run_of_another_protocol_is_named(tiny_run: Path, copied_run: Path, cli: Cli) -> None:
    assert cli("run", "trialigngr-demo", "--out", copied_run, *tiny(evaluate__ks=[30])).code == 0
    done = cli("evaluate", tiny_run, copied_run)
    assert done.code == 0, done.err
    assert "run differs: num beams 30" in done.out


def test_slices_are_matched_by_name(tiny_run: Path, copied_run: Path, cli: Cli) -> None:
    other = body(copied_run)
    lost, *kept = other["slices"]
    write_json(copied_run / "metrics.json", other | {"slices": kept[::-1]})
    done = cli("evaluate", tiny_run, copied_run, "--slices", "--format", "json")
    assert done.code == 0, done.err
    first, *rest = json.loads(done.out)["slices"]
    assert (first["name"], first["figures"]["run"]) == (lost["name"], {})
    assert [part["name"] for part in rest] == [part["name"] for part in kept]
    assert all(part["figures"]["run"] == part["figures"]["tiny"] for part in rest)


def test_how_much_sasrec_sees_is_told(copied_run: Path, cli: Cli) -> None:
    few = tiny(evaluate__systems=["sasrec"], sasrec__epochs=1, sasrec__max_history=7, sasrec__hidden_size=8)
    assert cli("run", "trialigngr-demo", "--out", copied_run, *few).code == 0
    assert "history ≤ 20 (sasrec 7), which" in cli("evaluate", copied_run).out


def test_stages_of_different_runs_are_refused(tiny_run: Path, copied_run: Path, cli: Cli) -> None:
    with another_fingerprint(copied_run / "model"):
        done = cli("evaluate", copied_run)
        assert (done.code, "are of another model than stands beside them" in done.err) == (2, True), done.err
    with another_fingerprint(copied_run / "sids"):
        for runs in ((copied_run,), (tiny_run, copied_run)):
            done = cli("evaluate", *runs)
            assert (done.code, "trained on other SIDs than stand beside it" in done.err) == (2, True), done.err
        with pytest.raises(ArtifactError, match="trained on other SIDs"):
            compare_beams_with_exact(load(copied_run), 2)
        with pytest.raises(ArtifactError, match="trained on other SIDs"):
            diagnose_run(load(copied_run), 5)
    assert cli("evaluate", copied_run).code == 0


@pytest.mark.parametrize("ks", ["[0]", "[-1]", '["ten"]'])
def test_lengths_that_are_none(tmp_path: Path, cli: Cli, ks: str) -> None:
    done = cli("run", "trialigngr-demo", "--out", tmp_path / "run", "--set", f"evaluate.ks={ks}")
    assert done.code == 2
    assert "evaluate.ks" in done.err


def test_any_metric_at_any_k_can_be_a_column(tiny_run: Path, cli: Cli) -> None:
    done = cli("evaluate", tiny_run, "--metrics", "MRR@20,HR@1", "--format", "json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["metrics"] == ["MRR@20", "HR@1"]
    ranks = TargetRanks.load(tiny_run / "evaluation" / "test.parquet").ranks["generator"][SEEN_MASKED]
    assert found["rows"][0]["figures"]["MRR@20"]["value"] == pytest.approx(mrr(ranks, 20).mean())
    assert set(found["paired_comparisons"][0]["p_values"]) == {"MRR@20", "HR@1"}
    assert cli("evaluate", tiny_run, "--metrics", "MRR@20,HR@1").out.count("MRR@20") == 3


def test_other_ways_to_count_are_those_of_the_test(tiny_run: Path, copied_run: Path, cli: Cli) -> None:
    assert cli("run", "trialigngr-demo", "--out", copied_run, *tiny(train__max_steps=1)).code == 0
    done = cli("evaluate", tiny_run, copied_run, "--format", "json")
    assert done.code == 0, done.err
    ways = {line["name"]: line["figures"]["HR@10"] for line in json.loads(done.out)["alternative_rows"]}
    systems = ("tiny", "run", "popularity", "counts")
    assert list(ways) == [*(f"{name}, nothing masked" for name in systems), "tiny, SID level", "run, SID level"]
    for name, figures in {"tiny": body(tiny_run), "run": body(copied_run)}.items():
        for way, told in {"nothing masked": "test", "SID level": "test_sid"}.items():
            assert ways[f"{name}, {way}"] == pytest.approx(figures[told]["HR@10"], abs=1e-6)
    popular = body(tiny_run)["baselines"]["popularity"]["HR@10"]
    assert ways["popularity, nothing masked"] == pytest.approx(popular, abs=1e-6)


def test_metrics_of_lists_are_columns_of_the_lists(tiny_run: Path, cli: Cli) -> None:
    done = cli("evaluate", tiny_run, "--metrics", "Coverage@3,Novelty@10,PopularityBias@1,HR@1", "--format", "json")
    assert done.code == 0, done.err
    found, told = json.loads(done.out), body(tiny_run)["lists"]
    assert found["metrics"] == ["HR@1"]
    assert found["list_metrics"] == ["MRR@10", "Coverage@3", "Novelty@10", "PopularityBias@1", "invalid"]
    lists, items = (
        TargetLists.load(tiny_run / "evaluation" / "lists.parquet").lists,
        len(load(tiny_run).artifacts.catalog),
    )
    for line, system in zip(found["rows"], ("generator", "popularity", "counts"), strict=True):
        shown = len(np.unique(lists[system][ITEM][:, :3]))
        assert line["list_figures"]["Coverage@3"] == pytest.approx(shown / items, abs=1e-6)
        assert line["list_figures"].items() >= told[system].items()
        facts = load(tiny_run).read_stage_manifest("model" if system == "generator" else system).facts
        assert line["training_cost"] == {name: facts[name] for name in ("seconds", "parameters") if name in facts}
    alone = cli("evaluate", tiny_run, "--metrics", "Coverage@3").out
    assert ("NDCG@5" in alone, "Coverage@3" in alone, "Coverage@10" in alone) == (True, True, False)


@pytest.mark.parametrize(
    ("metrics", "said"),
    [("HR@30", "tested with 20 beams, too few for lists of 30"), ("HR", "no metric 'HR'"), ("F1@5", "no metric 'F1@5'"),
     ("HR@0", "no metric 'HR@0'; give HR@K, NDCG@K, MRR@K, Coverage@K, Novelty@K or PopularityBias@K, such as HR@20."),
     ("HR@5,Coverage@11", "kept lists of 10, too short for metrics of 11; run it again with --set evaluate.ks=[11].")],
)  # fmt: skip
def test_metrics_that_are_none(tiny_run: Path, cli: Cli, metrics: str, said: str) -> None:
    done = cli("evaluate", tiny_run, "--metrics", metrics)
    assert (done.code, said in done.err) == (2, True), done.err


def test_a_run_that_was_tested_by_an_earlier_version(copied_run: Path, cli: Cli) -> None:
    old = body(copied_run)
    del old["lists"]
    write_json(copied_run / "metrics.json", old)
    (copied_run / "evaluation" / "lists.parquet").unlink()
    done = cli("evaluate", copied_run)
    assert (done.code, f"delete {copied_run}/evaluation and run the recipe again" in done.err) == (2, True)
    again = cli("run", "trialigngr-demo", "--out", copied_run, *tiny())
    assert (again.code, f"delete {copied_run}/evaluation and run the recipe again" in again.err) == (2, True)
