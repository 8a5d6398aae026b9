"""A real server, llama.cpp's, and a real model answer about the drawn shop through the command line; minutes long."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks.servers.llama import NAME, SLOTS, llama_server
from tests.support.commands import Done
from trialigngr.enrich.interests import INTERESTS_FILE, load_interests
from trialigngr.enrich.lexicon import read_lexicon
from trialigngr.enrich.mining import InterestJob
from trialigngr.enrich.response_schemas import MAX_INTERESTS
from trialigngr.llm.settings import MODEL_LABELS
from trialigngr.pipeline.llm_costs import find_llm_stages
from trialigngr.recipes.recipe import read_recipe

pytestmark = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="a real server needs: make test-servers")
ITEMS, WANTED = 50, 45


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with llama_server(tmp_path_factory.mktemp("llama") / "said.txt") as url:
        yield url


def mined(cli: Callable[..., Done], out: Path, items: int, **changes: object) -> dict[str, Any]:
    """Run a recipe up to the interests on a shop of so many items; return the facts of that stage."""
    changes = {"shop__num_items": items, "shop__num_shoppers": 200, "interests__drop_low_confidence": False} | changes
    sets = [f"{name.replace('__', '.')}={json.dumps(value)}" for name, value in changes.items()]
    words = [word for one in sets for word in ("--set", one)]
    done = cli("run", "trialigngr-demo", "--out", out, "--until", "interests", *words)
    assert done.code == 0, done.err
    facts: dict[str, Any] = json.loads((out / "interests" / "manifest.json").read_text("utf-8"))["facts"]
    return facts


def problems(run: Path) -> list[str | None]:
    """Return of each item why no usable answer came about it."""
    return pl.read_parquet(run / "interests" / INTERESTS_FILE)["problem"].to_list()


def first_of_its_hand(run: Path) -> float:
    """Return the share of tags that were the first of those that could stand in their place: .17 by chance."""
    recipe = read_recipe(str(run / "recipe.toml"))
    (asked,) = find_llm_stages(recipe).values()
    job = asked.build_job(recipe, run, asked.model_name)
    first = total = 0
    for number, one in enumerate(load_interests(run / "interests")):
        assert isinstance(job, InterestJob)
        assert job.vocabulary is not None
        choices = job.vocabulary.find_choices(number)
        assert set(one.tag_names) <= set(choices.tags)
        assert one.lifestyle is None or one.lifestyle in choices.lifestyles
        first += len(set(one.tag_names) & set(choices.tags[:MAX_INTERESTS]))
        total += len(one.tag_names)
    return first / total


def test_a_real_server_answers_about_fifty_items(cli: Callable[..., Done], url: str, tmp_path: Path) -> None:
    began = time.monotonic()
    facts = mined(
        cli, tmp_path, ITEMS, interests__generator="openai", interests__model=NAME, interests__tag_vocabulary="lexicon",
        calls__interests__openai__base_url=url, calls__interests__openai__max_concurrency=SLOTS,
        calls__interests__openai__timeout=600,
    )  # fmt: skip
    seconds = time.monotonic() - began
    said = problems(tmp_path)
    parsed, written = said.count(None), facts["completion_tokens"]
    print(
        f"\nllama.cpp: {parsed} of {len(said)} items parsed after {facts['calls']} calls in {seconds:.0f} s, "
        f"{facts['prompt_tokens']:,} tokens read, {written:,} written, {written / facts['seconds']:.1f} a second; "
        f"{facts['distinct_tags']} distinct tags, {first_of_its_hand(tmp_path):.0%} of all the first in their place"
    )
    assert len(said) == ITEMS
    assert parsed >= WANTED


def test_the_packaged_model_runs_as_a_generator(cli: Callable[..., Done], tmp_path: Path) -> None:
    """Without a grammar this model is plumbing: every item ends with tags of the lexicon or with a reason."""
    facts = mined(
        cli, tmp_path, 16, interests__generator="smollm2", interests__tag_vocabulary="lexicon", interests__dtype="fp32",
        interests__max_tokens=96,
    )  # fmt: skip
    said, lexicon = problems(tmp_path), read_lexicon()
    print(f"\nsmollm2: {said.count(None)} of {len(said)} items parsed after {facts['calls']} calls")
    assert facts["generator"] == MODEL_LABELS["smollm2"]
    assert len(said) == 16
    assert facts["completion_tokens"] >= facts["calls"] >= 16
    for one, problem in zip(load_interests(tmp_path / "interests"), said, strict=True):
        assert (len(one.tag_names) >= 2) is (problem is None)
        assert set(one.tag_names) <= set(lexicon["interests"])
