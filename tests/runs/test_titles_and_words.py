"""Titles instead of SIDs, and items for words: behind the same call, and nothing that does not exist."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.commands import Done
from tests.support.runs import HISTORY, ids
from trialigngr.decode.exact import compute_exact_scores
from trialigngr.foundation.artifact import read_manifest, write_manifest
from trialigngr.foundation.errors import CatalogError, RecipeError
from trialigngr.runs.run import Run, load
from trialigngr.tasks.task import View

Cli = Callable[..., Done]


def test_titles_rank_the_same_catalogue(run: Run) -> None:
    found = run.recommend(HISTORY, 100, by="title")
    assert sorted(ids(found)) == sorted(set(run.artifacts.catalog.item_ids) - set(HISTORY))
    scores = [item.score for item in found]
    assert scores == sorted(scores, reverse=True)
    assert ids(found) != ids(run.recommend(HISTORY, 100))
    assert set(ids(run.recommend(HISTORY, 100, by="title", deny=ids(found)[:2]))) == set(ids(found)[2:])


@torch.no_grad()
def test_a_titles_score_is_the_models_own(run: Run) -> None:
    """Against plain forward passes: softmax, at every token, over what goes on to some title."""
    offer = run.current_recommender
    own, model, close = (
        offer.title_recommender,
        run.artifacts.backbone.model,
        offer.snapshot.chat_template.assistant_suffix[0],
    )
    titles = [tuple(title or ()) for title in offer.item_views.token_ids[View.TITLE]]
    longest = max(map(len, titles))
    paths = sorted({title if len(title) == longest else (*title, close) for title in titles})
    prompt = own.build_prompt(np.array([3, 17]))
    exact = compute_exact_scores(own.search, [prompt])[0]
    by_title = {titles[row]: float(exact[own.search.trie.node_of_item[-1][row]]) for row in range(len(titles))}
    for path in paths[::17]:
        logits = model(torch.tensor([[*prompt, *path]])).logits[0, len(prompt) - 1 : -1].double()
        total = 0.0
        for place, token in enumerate(path):
            follow = sorted({other[place] for other in paths if other[:place] == path[:place]})
            total += float(logits[place, token] - logits[place, follow].logsumexp(0))
        assert by_title[tuple(token for token in path if token != close)] == pytest.approx(total, abs=0.05), "bf16"
    assert np.exp(exact).sum() == pytest.approx(1, abs=1e-3)


@settings(max_examples=15)
@given(data=st.data())
def test_no_title_is_written_that_is_not_there(run: Run, data: st.DataObject) -> None:
    n = len(run.artifacts.catalog)
    rows = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=5)))
    denied = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1), max_size=n - 1))), dtype=np.int64)
    k = data.draw(st.integers(1, n))
    found = run.current_recommender.title_recommender.recommend(rows, k, denied).rows.tolist()
    assert len(found) == len(set(found)) == min(k, n - len(denied))
    assert not set(found) & set(denied.tolist())


def test_words_find_items(cli: Cli, run: Run, tiny_run: Path) -> None:
    title = run.artifacts.catalog[7].title
    found = run.search_items(title, 100)
    assert len(found) == len(run.artifacts.catalog)
    done = cli("recommend", tiny_run, "--text", title, "-k", 3, "--json")
    assert [item["item_id"] for item in json.loads(done.out)] == ids(found)[:3]
    looks = cli("recommend", tiny_run, "--visual", run.artifacts.captions[7] or "", "-k", 3, "--deny", found[0].item_id)
    assert (looks.code, len(looks.out.splitlines())) == (0, 3)
    assert found[0].item_id not in looks.out


def test_words_with_half_characters_are_found_as_far_as_they_are_whole(run: Run) -> None:
    title = run.artifacts.catalog[3].title or ""
    mended = run.search_items(f"{title} \ufffd", 5)
    assert run.search_items(f"{title} \ud83d", 5) == mended, "an emoji that was cut"
    assert run.search_items(f"{title} \udcff", 5) == mended, "a byte of the command line that is no UTF-8"


def test_words_ask_as_training_did(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    own = type(run.current_recommender.sid_recommender).recommend_after_prompt
    monkeypatch.setattr(
        type(run.current_recommender.sid_recommender),
        "recommend_after_prompt",
        lambda self, prompt, *rest: asked.append(prompt) or own(self, prompt, *rest),
    )
    row = 11
    run.search_items(run.artifacts.catalog[row].title, 1)
    run.search_items(run.artifacts.captions[row] or "", 1, View.VISUAL)
    for number, prompt in zip(("T1", "T7"), asked, strict=True):
        examples = run.current_recommender._task_examples(
            next(task for task in run.recipe.tasks.list_tasks() if task.number == number)
        )
        sheets = examples.draw_batch(0, 0, len(examples))
        (branch,) = [branch for sheet in sheets for branch in sheet.continuations if branch.example_id[0] == row]
        assert prompt == [*examples.prompt_header, *branch.prompt_suffix]


def test_titles_from_the_command_line(cli: Cli, run: Run, tiny_run: Path) -> None:
    done = cli("recommend", tiny_run, "--history", ",".join(HISTORY), "--by", "title", "-k", 4, "--json")
    assert [item["item_id"] for item in json.loads(done.out)] == ids(run.recommend(HISTORY, 4, by="title"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--text", "a mug", "--history", "p0003"], "Give one of"),
        (["--text", "a mug", "--by", "title"], "--by title is for a history"),
        (["--all-users", "--out", "x.parquet", "--by", "title"], "for one user or history"),
        (["--text", "  "], "The text is empty"),
        (["--text", "a mug", "-k", "0"], "at least one"),
        (["--text", "a mug", "--category", "Lamp"], "There is no category 'Lamp'"),
    ],
)
def test_words_that_make_no_sense(cli: Cli, tiny_run: Path, words: list[str], sentence: str) -> None:
    done = cli("recommend", tiny_run, *words)
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err


def test_a_model_that_never_learnt_it(copied_run: Path) -> None:
    manifest = read_manifest(copied_run / "model")
    write_manifest(copied_run / "model", replace(manifest, facts=manifest.facts | {"examples": {"sids_to_sid": 1}}))
    run = load(copied_run)
    with pytest.raises(RecipeError, match=r"titles after a history; train one with sids_to_title \(T5\) or titles_to"):
        run.recommend(HISTORY, by="title")
    with pytest.raises(RecipeError, match=r"SIDs for titles; train one with title_to_sid \(T1\)"):
        run.search_items("a mug")
    with pytest.raises(CatalogError, match="at least one"):
        run.search_items("a mug", 0)
