"""`diagnose` on a tiny run: what it writes, what it compares with, what it cannot say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.commands import Done
from tests.support.runs import tiny
from trialigngr.report.from_run.result_tables import classify_sid_inputs
from trialigngr.runs.run import load
from trialigngr.studies.diagnose import _find_own_sids, _generate_titles, _sid_embeddings
from trialigngr.tasks.task import TASKS

pytest.importorskip("sacrebleu")
Cli = Callable[..., Done]


def body(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "diagnostics.json").read_text("utf-8")))


def test_what_is_written_and_kept(copied_run: Path, cli: Cli) -> None:
    done = cli("diagnose", copied_run, "--items", 20)
    assert done.code == 0, done.err
    found = body(copied_run)
    assert set(found) == {"computed_for", "probe", "titles", "own_sids", "sha256"}
    for own in found["own_sids"].values():
        assert (own["items"], own["places"]) == (20, 10)
        assert 0 <= own["first"]["value"] <= own["among_first"]["value"] <= 1
    assert {"accuracy", "shuffled_labels", "majority_class"} <= set(found["probe"])
    titles = found["titles"]
    assert titles["items"] == 20
    recall = {name: own["value"] for name, own in titles["attribute_recall"].items()}
    assert 0 <= recall["other_title"] < recall["true_title"] <= 1
    assert titles["hallucination_rate"]["value"] + titles["own_title_rate"]["value"] <= 1
    assert "majority class" in done.out
    assert "title BLEU-4" in (copied_run / "diagnostics.txt").read_text("utf-8")
    page = (copied_run / "report.html").read_text("utf-8")
    assert 'id="diagnostics"' in page
    again = cli("diagnose", copied_run, "--items", 20, "--format", "json")
    assert "are there, kept" in again.err
    assert json.loads(again.out)["runs"]["run"] == {"sid_inputs": "full", "diagnostics": found}


def test_runs_stand_side_by_side_above_the_papers_rows(tiny_run: Path, tmp_path: Path, cli: Cli) -> None:
    plain, full = (Path(shutil.copytree(tiny_run, tmp_path / name)) for name in ("plain", "full"))
    done = cli("run", "trialigngr-demo+text-only", "--out", plain, *tiny(train__max_steps=4))
    assert done.code == 0, done.err
    done = cli("diagnose", plain, full, "--items", 5)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:9] if not line.startswith("  ")] == [
        "plain (text-only)", "full (full)", "paper: text-only", "paper: +CMSA", "paper: +MDIM", "paper: full",
    ]  # fmt: skip
    assert lines[8].split()[-6:] == ["78.3%", "0.623", "64.7%", "–", "–", "–"]
    assert sum("2 layers, 256 hidden" in line for line in lines) == 1, "one way of looking is told once"
    markdown = cli("diagnose", plain, full, "--items", 5, "--format", "markdown").out
    assert "| paper: full | 78.3% | 0.623 | 64.7% | – | – | – |" in markdown
    latex = cli("diagnose", plain, full, "--items", 5, "--format", "latex").out
    assert r"paper: full & 78.3\% & 0.623 & 64.7\% & – & – & – \\" in latex
    twice = cli("diagnose", plain, plain)
    assert (twice.code, "is given twice" in twice.err) == (2, True)


def test_what_sids_are_made_from(tiny_run: Path) -> None:
    run = load(tiny_run)
    for captions, interests, name in ((0, 0, "text-only"), (1, 0, "+CMSA"), (0, 1, "+MDIM"), (1, 1, "full")):
        embeddings = run.recipe.embeddings.model_copy(
            update={"use_captions": bool(captions), "use_interests": bool(interests)}
        )
        run.recipe = run.recipe.model_copy(update={"embeddings": embeddings})
        assert classify_sid_inputs(run) == name


def test_a_report_without_them_has_no_such_section(tiny_run: Path) -> None:
    assert "#diagnostics" not in (tiny_run / "report.html").read_text("utf-8")


def test_diagnostics_of_another_model_are_gone(copied_run: Path, cli: Cli) -> None:
    assert cli("diagnose", copied_run, "--items", 5).code == 0
    done = cli("run", "trialigngr-demo", "--out", copied_run, *tiny(train__max_steps=4))
    assert done.code == 0, done.err
    assert not list(copied_run.glob("diagnostics.*"))
    assert 'id="diagnostics"' not in (copied_run / "report.html").read_text("utf-8")


def test_features_are_the_tokens_own_rows(tiny_run: Path) -> None:
    parts = load(tiny_run).artifacts
    table = parts.backbone.model.get_input_embeddings().weight.detach().numpy()
    vocabulary = parts.backbone.tokenizer.get_vocab()
    expected = np.concatenate([table[vocabulary[token]] for token in parts.sids.item_tokens(7)])
    np.testing.assert_array_equal(_sid_embeddings(parts)[7], expected)


def test_the_own_sid_is_found_where_the_model_knows_it(tiny_run: Path) -> None:
    """Held against beams that the task's own prompts give, one item after the other."""
    parts, task = load(tiny_run).artifacts, TASKS["visual_to_sid"]
    examples = parts.build_examples(task, parts.encode_views(parts.chat_template), parts.chat_template)
    count = len(parts.catalog)
    lists = [
        parts.sid_recommender.recommend_after_prompt(examples.build_prompt(np.array([row])), 10).rows.tolist()
        for row in range(count)
    ]
    found = _find_own_sids(parts, task, count)
    codes = parts.sids.codes_NL
    same = [
        [place for place, other in enumerate(own) if (codes[other] == codes[row]).all()]
        for row, own in enumerate(lists)
    ]
    assert found["first"]["value"] == pytest.approx(sum(own[:1] == [0] for own in same) / count)
    assert found["among_first"]["value"] >= sum(map(bool, same)) / count > 0


def test_the_prompt_is_that_of_training(tiny_run: Path) -> None:
    parts = load(tiny_run).artifacts
    examples = parts.build_examples(TASKS["sid_to_title"], parts.encode_views(parts.chat_template), parts.chat_template)
    sheet = examples.draw_batch(0, 0, 1)[0]
    branch = sheet.continuations[0]
    row = branch.example_id[0]
    assert [*examples.prompt_header, *sheet.prefix_tokens, *branch.prompt_suffix] == examples.build_prompt(
        np.array([row])
    )
    assert not any("<a_" in text or "<|" in text for text in _generate_titles(parts, [0, 1, 2]))


def test_without_t2_there_are_no_titles(copied_run: Path, cli: Cli) -> None:
    assert cli("run", "trialigngr-demo", "--out", copied_run, *tiny(tasks__use=["T3"])).code == 0
    done = cli("diagnose", copied_run)
    assert done.code == 0, done.err
    assert "T2 (SID to title) was not trained." in done.out
    assert body(copied_run)["titles"] == {"missing_reason": "T2 (SID to title) was not trained."}


def test_bad_input(tiny_run: Path, tmp_path: Path, cli: Cli) -> None:
    few = cli("diagnose", tiny_run, "--items", 1)
    assert (few.code, "at least two titles" in few.err) == (2, True)
    none = cli("diagnose", tmp_path)
    assert (none.code, "is not a run" in none.err) == (2, True)
