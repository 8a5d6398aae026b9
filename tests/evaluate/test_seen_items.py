"""Whether seen items head the tables and are recommended: by a setting, or by how often the log repeats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.commands import Done
from tests.support.histories import histories
from tests.support.runs import HISTORY, ids, tiny
from trialigngr.evaluate.seen_items import SeenItemsRule, find_head_counting
from trialigngr.evaluate.target_ranks import ITEM, SEEN_MASKED
from trialigngr.foundation.artifact import read_manifest
from trialigngr.runs.run import load

Cli = Callable[..., Done]


@given(st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=9), min_size=1, max_size=6))
def test_repeats_are_counted_in_the_training_parts_alone(sequences: list[list[int]]) -> None:
    log = histories(*sequences)
    repeated = sum(row in rows[:place] for rows in log.train_sequences() for place, row in enumerate(rows.tolist()))
    assert log.count_train_repeats() == (len(log.list_targets("train")), repeated)


def test_the_log_s_own_rule() -> None:
    rare = histories(*[list(range(102)) for _ in range(3)], [*range(101), 0, 1, 2])
    often = histories([0, 1, 0, 1, 5, 6], [2, 3, 4, 5])
    for log, masks in ((rare, True), (often, False)):
        rule = SeenItemsRule.from_log("as the log", log)
        assert (rule.masks_tables, rule.masks_recommendations) == (masks, masks)
        targets, repeated = log.count_train_repeats()
        assert f"{repeated} of {targets:,} training targets repeat" in rule.description
        assert find_head_counting(rule.description) == (SEEN_MASKED if masks else ITEM)
        for chosen, wanted in (("keep", False), ("mask", True)):
            own = SeenItemsRule.from_log(chosen, log)  # type: ignore[arg-type]
            assert (own.masks_tables, own.masks_recommendations) == (wanted, wanted)
            assert find_head_counting(own.description) == (SEEN_MASKED if wanted else ITEM)
    usual = SeenItemsRule.from_log(None, often)
    assert (usual.masks_tables, usual.masks_recommendations) == (False, True)
    assert usual.description == "not masked (masked beside)"


def test_masked_figures_head_the_tables(copied_run: Path, tiny_run: Path, cli: Cli) -> None:
    repeats = read_manifest(copied_run / "catalog").facts["repeats"]
    assert (repeats["train_targets"], repeats["repeated"]) == load(copied_run).artifacts.histories.count_train_repeats()
    masks = repeats["repeated"] < 0.01 * repeats["train_targets"]
    for chosen, way in (("mask", True), ("keep", False), ("as the log", masks)):
        done = cli("run", "trialigngr-demo", "--out", copied_run, *tiny(evaluate__seen_items=chosen))
        assert (done.code, "evaluation: unchanged, kept" in done.err) == (0, True), done.err
        run, before = load(copied_run), load(tiny_run).metrics
        assert {name: run.metrics[name] for name in ("test", "test_seen_masked", "baselines", "valid")} == {
            name: before[name] for name in ("test", "test_seen_masked", "baselines", "valid")
        }
        assert ("test HR@10, seen items masked," in done.err) == way
        told = cli("evaluate", copied_run, "--format", "json")
        assert told.code == 0, told.err
        found = json.loads(told.out)
        names = ["run", "popularity", "counts"]
        keys = ("test_seen_masked", "baselines_seen_masked") if way else ("test", "baselines")
        heads = [run.metrics[keys[0]], *run.metrics[keys[1]].values()]
        for row, figures in zip(found["rows"], heads, strict=True):
            assert row["figures"]["HR@10"] == pytest.approx(figures["HR@10"], abs=1e-6)
        for pair in found["paired_comparisons"]:
            own = run.metrics["differences"][pair["name"]]["NDCG@10"]["value"]
            assert pair["differences"]["NDCG@10"]["value"] == pytest.approx(own, abs=1e-6)
        beside = "nothing masked" if way else "seen masked"
        assert [row["name"] for row in found["alternative_rows"]] == [
            *(f"{name}, {beside}" for name in names), "run, SID level"
        ]  # fmt: skip
        printed = cli("evaluate", copied_run).out
        assert f"seen items {run.artifacts.seen_items.description.split(' (')[0]}\n" in printed
        if chosen == "as the log":
            assert f"{repeats['repeated']:,} of {repeats['train_targets']:,} training targets repeat" in printed
        page = (copied_run / "report.html").read_text("utf-8")
        assert (page.index("Items, seen ones masked") < page.index("Items, nothing masked")) == way
        catalogue = set(run.artifacts.catalog.item_ids)
        for unseen, left_out in ((None, way), (True, True), (False, False)):
            wanted = catalogue - set(HISTORY) if left_out else catalogue
            assert set(ids(run.recommend(HISTORY, 99, unseen=unseen))) == wanted
            words = [] if unseen is None else ["--unseen" if unseen else "--seen"]
            lines = cli("recommend", copied_run, "--history", ",".join(HISTORY), "-k", 99, *words).out.splitlines()
            assert len(lines) == len(wanted)


def test_a_log_without_targets_repeats_nothing() -> None:
    assert SeenItemsRule.from_log("as the log", histories([1, 2, 3])).masks_tables, "nobody was seen to repeat"
    assert histories([1, 2, 3]).count_train_repeats() == (0, 0)
