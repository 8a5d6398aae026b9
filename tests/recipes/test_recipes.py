"""Recipes: the packaged ones say what their tables say; files extend; ``--set`` is checked."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import RecipeError
from trialigngr.recipes.recipe import Recipe, read_packaged_recipes, read_recipe
from trialigngr.systems.registry import SYSTEMS
from trialigngr.tasks.settings import CurriculumPartSettings
from trialigngr.tasks.task import TASKS

SIX = ["T1", "T2", "T3", "T4", "T5", "T6"]
EIGHT = [*SIX, "T7", "T8"]
WITHOUT_PIXELS = {"captions.generator": "none", "interests.use_captions": False, "embeddings.use_captions": False}
ITEMS_FIRST = CurriculumPartSettings(
    until=0.35, weights={"title_to_sid": 1.0, "sid_to_title": 1.0, "visual_to_sid": 2.0, "visual_to_title": 1.0}
)
# Systems that head a table without a language model; tests/systems/test_seq2seq_runs.py runs them.
HEADS = {
    *("tiger", "letter", "etegrec", "macrec", "macrec-published"),
    *("macrec-no-contrast", "macrec-no-code-alignment", "macrec-no-implicit", "macrec-no-explicit"),
}
# What each ablation trains, and what it says of the other stages (the paper's Tables 3, 4 and 5).
ABLATIONS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "no-cmsa": (SIX, WITHOUT_PIXELS | {"embeddings.use_images": False, "interests.generator": "lexicon"}),
    "collaborative": (EIGHT, {"embeddings.collaborative_weight": 0.7, "embeddings.use_images": True}),
    "interests-last": (EIGHT, {"embeddings.text_order": "interests_last"}),
    "items-first": (EIGHT, {"tasks.curriculum": (ITEMS_FIRST,)}),
    "no-mdim": (EIGHT, {"interests.generator": "none", "embeddings.use_interests": False}),
    "no-translation": (EIGHT[2:], {}),
    "no-visual-tasks": (SIX, {"captions.generator": "measured", "embeddings.use_images": True}),
    "t1-t2-t3-t5": (["T1", "T2", "T3", "T5"], {}),
    "t1-t3": (["T1", "T3"], {}),
    "t1-t7": (EIGHT[:7], {}),
    "t3-only": (["T3"], {}),
    **{
        f"control-{prompt}": (
            SIX,
            WITHOUT_PIXELS | {"embeddings.use_images": False, "interests.prompt_template": prompt},
        )
        for prompt in ("keywords", "summary", "paraphrase", "generic-tags")
    },
    "control-caption-concat": (
        SIX,
        {
            "captions.generator": "measured",
            "embeddings.use_captions": True,
            "embeddings.use_images": False,
            "interests.generator": "none",
        },
    ),
    "served": (EIGHT, {"captions.generator": "openai", "interests.generator": "openai"}),
    "paper-models": (
        EIGHT,
        {"captions.generator": "transformers", "interests.generator": "transformers", "embeddings.encoder": "gme"},
    ),
    "text-only": (
        SIX,
        WITHOUT_PIXELS
        | {"embeddings.use_images": False, "interests.generator": "none", "embeddings.use_interests": False},
    ),
}


def value(recipe: Recipe, key: str) -> Any:
    found: Any = recipe
    for part in key.split("."):
        found = getattr(found, part)
    return found


def numbers(recipe: Recipe) -> list[str]:
    return [task.number for task in recipe.tasks.list_tasks()]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", read_packaged_recipes())
def test_every_packaged_recipe_reads_and_comes_back_from_toml(name: str, tmp_path: Path) -> None:
    recipe = read_recipe(name)
    assert recipe.description.endswith((".", ")"))
    assert read_recipe(str(write(tmp_path / "again.toml", recipe.to_toml()))) == recipe


@pytest.mark.parametrize("name", ABLATIONS)
@pytest.mark.parametrize("base", ["trialigngr", "trialigngr-demo"])
def test_ablations_say_what_their_row_says_and_leave_the_rest(name: str, base: str) -> None:
    tasks, says = ABLATIONS[name]
    recipe, whole = read_recipe(f"{base}+{name}"), read_recipe(base)
    assert numbers(recipe) == tasks
    assert {key: value(recipe, key) for key in says} == says
    untouched = ("seed", "shop", "catalog", "sids", "prompt", "model", "train", "decode", "evaluate")
    assert all(getattr(recipe, stage) == getattr(whole, stage) for stage in untouched)
    assert recipe.tasks.weights == whole.tasks.weights


def test_one_task_a_step_takes_back_what_the_small_recipes_do() -> None:
    small, apart = (read_recipe(name) for name in ("trialigngr-small", "trialigngr-small+one-task-a-step"))
    assert small.tasks.main_task == "sids_to_sid"
    assert small.prompt.history_in_completion
    assert apart.tasks.main_task is None
    weights = apart.tasks.task_weights()
    assert weights["sids_to_sid"] > 0.9 * sum(weights.values())
    assert apart.prompt == small.prompt.model_copy(update={"history_in_completion": False})
    assert (apart.train, apart.model, apart.sids) == (small.train, small.model, small.sids)


def test_other_systems_head_tables_without_a_language_model() -> None:
    for name in HEADS:
        recipe = read_recipe(f"trialigngr-demo+{name}")
        assert recipe.evaluate.head == name.partition("-")[0]
        assert not recipe.has_generator


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("macrec-no-contrast", "sids.macrec.contrast_weight"),
        ("macrec-no-code-alignment", "sids.macrec.alignment_weight"),
        ("macrec-no-implicit", "macrec.implicit_weight"),
        ("macrec-no-explicit", "macrec.explicit_alignment"),
    ],
)
def test_macrec_s_ablations_change_one_setting(name: str, path: str) -> None:
    whole, changed = (tomllib.loads(read_recipe(recipe).to_toml()) for recipe in ("macrec", name))
    *sections, key = path.split(".")
    own, other = whole, changed
    for section in sections:
        own, other = own[section], other[section]
    assert (bool(own[key]), bool(other[key])) == (True, False)
    other[key] = own[key]
    assert changed | {"description": ""} == whole | {"description": ""}


def test_every_packaged_recipe_is_a_base_or_a_tested_ablation() -> None:
    assert set(read_packaged_recipes()) - set(ABLATIONS) - HEADS == {
        "trialigngr",
        "trialigngr-small",
        "trialigngr-light",
        "trialigngr-hour",
        "trialigngr-demo",
        "counts",  # layers that tests/systems/test_priors.py and tests/pipeline/test_items_run.py run
        "items",
        "pictured",
        "one-task-a-step",
    }


def test_the_data_of_those_who_need_a_picture_of_each_item() -> None:
    recipe, whole = read_recipe("trialigngr+pictured+interests-last"), read_recipe("trialigngr")
    assert recipe.catalog == whole.catalog.model_copy(update={"item_scope": "pictured"})
    assert recipe.embeddings == whole.embeddings.model_copy(update={"text_order": "interests_last"})


def test_the_paper_s_settings() -> None:
    recipe = read_recipe("trialigngr")
    assert recipe.sids.codebook_sizes == (4096, 2048, 1024)
    assert (recipe.sids.quantizer, recipe.model.name_or_path) == ("rqvae", "Qwen/Qwen2.5-7B-Instruct")
    assert (recipe.train.learning_rate, recipe.train.batch_size, recipe.train.epochs) == (3e-4, 64, 3)
    assert (recipe.decode.num_beams, recipe.catalog.k_core, recipe.catalog.leave_last_n) == (20, 5, 1)
    assert recipe.tasks.task_weights() == dict.fromkeys(TASKS, 1.0)


def test_the_makefile_runs_recipes_that_exist(root: Path) -> None:
    named = re.findall(r"trialigngr run (\S+)", (root / "Makefile").read_text("utf-8"))
    assert len(named) == 2
    for name in named:
        read_recipe(name)


def test_a_file_extends_a_packaged_recipe_and_a_file_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "base.toml", 'extends = "trialigngr-demo"\n[train]\nepochs = 2\nbatch_size = 8\n')
    child = write(tmp_path / "child.toml", 'extends = "base.toml"\n[train]\nepochs = 5\n')
    recipe = read_recipe(str(child))
    assert (recipe.train.epochs, recipe.train.batch_size) == (5, 8)
    assert recipe.model == read_recipe("trialigngr-demo").model


def test_a_file_may_extend_two_and_later_ones_win(tmp_path: Path) -> None:
    child = write(tmp_path / "child.toml", 'extends = "trialigngr-demo+text-only"\n[embeddings]\nuse_images = true\n')
    recipe = read_recipe(f"{child}+t3-only")
    assert numbers(recipe) == ["T3"]
    assert (recipe.embeddings.use_images, recipe.embeddings.use_captions) == (True, False)


def test_a_path_with_a_plus(tmp_path: Path) -> None:
    (tmp_path / "a+b").mkdir()
    assert read_recipe(str(write(tmp_path / "a+b" / "c.toml", "seed = 7\n"))).seed == 7


def test_a_cycle_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.toml", 'extends = "b.toml"\n')
    write(tmp_path / "b.toml", 'extends = "a.toml"\n')
    with pytest.raises(RecipeError, match=r"extends itself: .*a\.toml → .*b\.toml → .*a\.toml"):
        read_recipe(str(tmp_path / "a.toml"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[trian]\n", r"bad\.toml: there is no setting 'trian'. Did you mean 'train'"),
        ("[train]\nepoch = 3\n", r"there is no setting 'train.epoch'. Did you mean 'epochs'"),
        ("[train]\nepochs = 'many'\n", r"train.epochs = 'many' does not fit"),
        ("[train\n", r"not valid TOML"),
        ('extends = "trialign"\n', r"no recipe 'trialign'.*Did you mean 'trialigngr'"),
        ('extends = "gone.toml"\n', r"no recipe file .*gone\.toml"),
        ("extends = 3\n", r"no recipe '3'"),
        ("train = 3\n", r"train = 3 does not fit"),
    ],
)
def test_what_does_not_fit_in_a_file(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        read_recipe(str(write(tmp_path / "bad.toml", text)))


def test_a_recipe_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not UTF-8"):
        read_recipe(str(tmp_path / "bad.toml"))


@pytest.mark.parametrize(
    ("change", "key", "wanted"),
    [
        ("train.learning_rate=1e-4", "train.learning_rate", 1e-4),
        ("sids.codebook_sizes=[8, 4]", "sids.codebook_sizes", (8, 4)),
        ("catalog.split=global-temporal", "catalog.split", "global-temporal"),
        ('model.name_or_path="scratch"', "model.name_or_path", "scratch"),
        ("model.name_or_path=Qwen/Qwen3-0.6B", "model.name_or_path", "Qwen/Qwen3-0.6B"),
        ("embeddings.use_images=false", "embeddings.use_images", False),
        ("tasks.use=['T3']", "tasks.use", ("T3",)),
        ("catalog.column_map.asin=item_id", "catalog.column_map", {"asin": "item_id"}),
        ('catalog.column_map."a.b"=item_id', "catalog.column_map", {"a.b": "item_id"}),
        ("catalog.column_map.parent asin=item_id", "catalog.column_map", {"parent asin": "item_id"}),
    ],
)
def test_set(change: str, key: str, wanted: Any) -> None:
    assert value(read_recipe("trialigngr", [change]), key) == wanted


def test_set_lays_over_one_after_the_other() -> None:
    recipe = read_recipe("trialigngr-demo", ["tasks.weights.title_to_sid=3", "train.epochs=9", "train.epochs=4"])
    assert recipe.train.epochs == 4
    assert recipe.tasks.weights["title_to_sid"] == 3
    assert recipe.tasks.weights["sid_to_title"] == read_recipe("trialigngr-demo").tasks.weights["sid_to_title"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("train.learing_rate=1", r"--set train.learing_rate: there is no setting .*Did you mean 'learning_rate'"),
        ("trian.epochs=1", r"there is no setting 'trian'. Did you mean 'train'"),
        ("train.epochs", r"not of the form a\.b=value"),
        ("=3", r"not of the form"),
        ("train.epochs=soon", r"train.epochs = 'soon' does not fit"),
        ("train.epochs=inf", r"train.epochs = inf does not fit"),
        ("tasks.weights.T3=nan", r"tasks.weights.T3 = nan does not fit"),
        ("catalog.k_core=-1", r"catalog.k_core = -1 does not fit"),
        ("catalog.split=leave-lost", r"catalog.split = 'leave-lost' does not fit"),
        ("train.epochs.more=1", r"train.epochs = .* does not fit"),
    ],
)
def test_set_that_does_not_fit(change: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        read_recipe("trialigngr", [change])


@pytest.mark.parametrize(
    "change",
    [
        "calls.interests.openai.api_key_env=sk-tell-nobody",
        "calls.interests.openai.api_key_env=tell_nobody_0123",
        'calls.captions.openai.api_key_env=["tell-nobody"]',
        "calls.interests.openai.key_varable=tell-nobody",
        "calls.interests.api_key_env=sk-tell-nobody",
        "calls.captions.base_url=https://me:tell-nobody@host/v1",
        "calls.captions.openai.base_url=https://me:tell-nobody@host/v1",
        "calls.captions.openai.base_url=https://host/v1?api_key=tell-nobody",
        "calls.captions.openai.base_url=https://host/v1#tell-nobody",
    ],
)
def test_a_key_in_the_wrong_place_is_refused_and_not_repeated(change: str, tmp_path: Path) -> None:
    key, _, value = change.partition("=")
    written = tmp_path / "own.toml"
    section, _, name = key.rpartition(".")
    written.write_text(f"[{section}]\n{name} = {value if value[0] in '[{' else json.dumps(value)}\n", "utf-8")
    for chosen, changes in (("trialigngr", [change]), (str(written), [])):
        with pytest.raises(RecipeError, match=r"environment variable|there is no setting") as caught:
            read_recipe(chosen, changes)
        assert "nobody" not in str(caught.value)
        assert str(caught.value).startswith("--set calls" if changes else str(written))


def test_a_key_variable_is_a_name_in_capitals() -> None:
    changes = ["calls.captions.openai.api_key_env=MY_KEY_2", "calls.interests.openai.api_key_env="]
    calls = read_recipe("trialigngr", changes).calls
    assert (calls.captions.openai.api_key_env, calls.interests.openai.api_key_env) == ("MY_KEY_2", "")


@given(st.text(max_size=40))
def test_a_description_of_any_text_survives(text: str) -> None:
    recipe = Recipe(description=text)
    assert tomllib.loads(recipe.to_toml())["description"] == text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("decode.beams", "num_beams"),
        ("model.layers", "num_layers"),
        ("catalog.items", "item_scope"),
        ("train.clip", "max_grad_norm"),
        ("embeddings.positions", "gme.positions"),
        ("embeddings.least_visual_tokens", "gme.min_visual_tokens"),
        ("calls.captions.url", "openai.base_url"),
        ("calls.interests.max_attempts", "openai.max_attempts"),
        ("calls.images.tries", "max_attempts"),
        ("calls.interests.batch", "transformers.batch_size"),
        ("calls.captions.max_runs", "calls.max_runs"),
    ],
)
def test_a_setting_of_before_says_what_it_is_called_now(old: str, new: str) -> None:
    with pytest.raises(RecipeError, match=rf"there is no setting '{old}'. It is called {new} now\."):
        read_recipe("trialigngr-demo", [f"{old}=1"])


@pytest.mark.parametrize("old", ["sids.rqvae.kmeans.beam", "sids.rqvae.slack", "sids.opq.finishing", "sasrec.device"])
def test_a_setting_that_is_gone_says_so(old: str) -> None:
    with pytest.raises(RecipeError, match="It is no setting any more"):
        read_recipe("trialigngr-demo", [f"{old}=1"])


def iter_leaves(settings: type[Settings], prefix: str = "") -> Iterator[str]:
    for name, field in settings.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            yield from iter_leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_a_recipe_stays_small_enough_to_read():
    """A knob that nobody turns is a constant with a comment."""
    own = [name for name in iter_leaves(Recipe) if name.partition(".")[0] not in SYSTEMS]
    assert 200 < len(own) <= 240
    for name, spec in SYSTEMS.items():
        assert spec.settings is None or len(list(iter_leaves(spec.settings))) <= 23, name
