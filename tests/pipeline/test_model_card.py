"""The model card: it is published with the weights, so nothing of the machine where they were made is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from trialigngr.pipeline.model_card import format_front_matter, format_model_card, make_public_recipe
from trialigngr.recipes.recipe import read_recipe
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.runs.run import load
from trialigngr.train.phases import PHASES

FACTS: dict[str, Any] = {
    "examples": {"sids_to_sid": 1200}, "parameters": 5000, "trained": 5000, "step": 12, "best_step": 8,
    "tokens": 90_000, "valid_ndcg_10": 0.0123,
}  # fmt: skip
PRIVATE = (
    "calls.captions.openai.base_url=http://secret.corp:8000/v1",
    "calls.interests.openai.api_key_env=SECRET_API_KEY",
    "calls.response_cache=/mnt/secret/responses.sqlite",
    "captions.model=/mnt/secret/qwen-vl",
    "captions.prompt_template=secret/caption.toml",
    "interests.model=./secret",
    "interests.prompt_template=../secret.toml",
    "embeddings.model=~/secret/gme",
    "embeddings.image_model=/mnt/secret/clip",
    "model.name_or_path=secret/models/qwen",
)


def written(run: Path, *changes: str) -> str:
    recipe = read_recipe(str(run / "recipe.toml"), changes)
    return format_model_card(RunArtifacts(recipe, run), FACTS, PHASES["sft"])


def test_what_is_private_is_left_out_and_named(tiny_run: Path) -> None:
    text = written(tiny_run, *PRIVATE)
    assert "secret" not in text.casefold()
    names = (
        "captions.model",
        "captions.prompt_template",
        "interests.model",
        "interests.prompt_template",
        "embeddings.model",
    )
    for name in (*names, "embeddings.image_model"):
        assert f"`{name}`" in text
    assert "`model.name_or_path`, `calls`." in text
    assert "From a local model" in text
    assert "[calls" not in text


def test_a_published_recipe_tells_nothing_of_where_it_ran(tiny_run: Path, tmp_path: Path) -> None:
    more = (
        "ray.address=secret:6379",
        'catalog.images.allowed_hosts=["cdn.secret.corp"]',
        "catalog.column_map.secret=title",
    )
    public = make_public_recipe(read_recipe(str(tiny_run / "recipe.toml"), (*PRIVATE, *more)))
    assert "secret" not in public.to_toml().casefold()
    assert (public.model.name_or_path, public.captions.model) == ("private", "private")
    (tmp_path / "recipe.toml").write_text(public.to_toml(), encoding="utf-8")
    assert read_recipe(str(tmp_path / "recipe.toml")) == public
    assert "secret" not in written(tiny_run, *PRIVATE, *more).casefold()


def test_the_front_matter_names_the_base_model_and_the_licence() -> None:
    recipe = read_recipe("trialigngr")
    head = yaml.safe_load(format_front_matter(recipe, "apache-2.0").removeprefix("---").removesuffix("---\n"))
    assert (head["base_model"], head["license"]) == ("Qwen/Qwen2.5-7B-Instruct", "apache-2.0")
    assert "model-index" not in head


def test_what_is_public_stays(tiny_run: Path) -> None:
    text = written(tiny_run, "model.name_or_path=Qwen/Qwen2.5-0.5B-Instruct", "captions.model=gpt-4o")
    assert "From `Qwen/Qwen2.5-0.5B-Instruct`" in text
    assert 'name_or_path = "Qwen/Qwen2.5-0.5B-Instruct"' in text
    assert 'model = "gpt-4o"' in text
    assert (
        "Left out, as private to the machine where it ran: `catalog.column_map`, `catalog.images`, `ray`, `calls`."
        in text
    )
    assert f"num_beams = {load(tiny_run).recipe.decode.num_beams}" in text


def test_it_counts_the_data_as_the_protocol_does(tiny_run: Path) -> None:
    kept = load(tiny_run).metrics["protocol"]["data"]
    counted = f"{kept['items']:,} items, {kept['users']:,} users, {kept['interactions']:,} interactions."
    assert counted in written(tiny_run)


def test_a_folder_beside_us_is_no_public_name(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "models/mine" not in written(tiny_run.resolve(), "model.name_or_path=models/mine")
