"""`tune`: a small search over settings of a recipe, judged on validation targets alone; killed, it goes on."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from trialigngr.foundation.console import log
from trialigngr.foundation.errors import RecipeError, TriAlignError
from trialigngr.foundation.files import write_text_atomically
from trialigngr.foundation.sealed import SEAL, read_json, write_json
from trialigngr.foundation.seeds import derive_seed
from trialigngr.llm.costs import CostEstimate
from trialigngr.pipeline.execute import check_data, lock_run_folder
from trialigngr.pipeline.llm_costs import check_stages, estimate_costs, may_cost
from trialigngr.pipeline.prior_validation import PRIOR_STAGE
from trialigngr.pipeline.prior_validation import SPEC as PRIOR_SPEC
from trialigngr.pipeline.publish import remove_published_files, write_recipe
from trialigngr.pipeline.stage_graph import Stage, StageContext, build_graph
from trialigngr.pipeline.stages import list_stage_specs
from trialigngr.pipeline.stages.systems import MAX_VALIDATED_USERS
from trialigngr.recipes.recipe import Recipe, read_recipe
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.systems.registry import SYSTEMS

TRIALS_FILE, BEST_FILE = "trials.json", "best.toml"
MAX_COMBINATIONS = 100_000
"""Combinations of values at most."""
SCORE_FACT = "valid_ndcg_10"
"""The fact of the tuned stage's manifest that holds the validation NDCG@10."""


@dataclass(frozen=True)
class Trial:
    """Changes to the recipe and what came of them; ``score`` is validation NDCG@10, None where training failed."""

    changes: tuple[str, ...]
    score: float | None
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class TuningSearch:
    """What is searched: a recipe with ``changes``, and ``search_space``, of the form ``a.b=[value, value]``.

    The recipe as it is comes first, then ``num_trials`` of all combinations in random order (all, where there are no
    more).
    """

    recipe_name: str
    search_space: tuple[str, ...]
    changes: tuple[str, ...] = ()
    num_trials: int = 20
    seed: int = 0

    @property
    def tuned_stage(self) -> str:
        """The stage that is tuned: the generator with its prior where that varies, else one system of the registry
        where only its settings vary, else the model's last phase."""
        sections = {text.strip().partition(".")[0] for text in self.search_space}
        if PRIOR_STAGE in sections:
            return PRIOR_STAGE
        if len(sections) == 1 and sections <= SYSTEMS.keys():
            return sections.pop()
        return read_recipe(self.recipe_name, self.changes).model_stage

    @property
    def protocol_text(self) -> str:
        """What a score means."""
        recipe = read_recipe(self.recipe_name, self.changes)
        whole = "item level, the whole catalogue, seen items not masked"
        if self.tuned_stage not in SYSTEMS:
            beams = f"{recipe.decode.num_beams} beams, {recipe.decode.score_softmax} softmax"
            users = (recipe.prior if self.tuned_stage == PRIOR_STAGE else recipe.train).validate_users
            return f"{whole}, at most {users:,} users, {beams}"
        settings = recipe.get_system_settings(self.tuned_stage)
        return f"{whole}, at most {getattr(settings, 'validate_users', MAX_VALIDATED_USERS):,} users"

    def build_trial_recipes(self) -> list[tuple[tuple[str, ...], Recipe]]:
        """Return the changes and the recipe of every trial; raise `RecipeError` for a setting or value that does not
        fit."""
        if self.num_trials < 1:
            raise RecipeError(f"trials = {self.num_trials}: try at least one.")
        tried = [
            (),
            *_sample_combinations([_parse_values(text) for text in self.search_space], self.num_trials, self.seed),
        ]
        return [(one, _read_trial_recipe(self.recipe_name, (*self.changes, *one), self.tuned_stage)) for one in tried]


def tune_recipe(search: TuningSearch, data: Path | None, out: Path) -> list[Trial]:
    """Try settings of a recipe on validation targets, write ``trials.json`` and ``best.toml``, return the best first.

    Test targets are never looked at. Raises `RecipeError` for a setting or value that does not fit, before anything is
    trained.
    """
    recipes = search.build_trial_recipes()
    found: list[Trial] = []
    with lock_run_folder(out / "run"):
        for number, (tried, recipe) in enumerate(recipes, 1):
            description = " ".join(tried) or "the recipe as it is"
            log(f"trial {number} of {len(recipes)}{_describe_time_left(found, len(recipes))}: {description}")
            found.append(_run_trial(tried, recipe, data, out, search.tuned_stage))
            _write_best_recipe(search.recipe_name, out, found, recipes)
    return sort_trials(found)


def estimate_search_costs(search: TuningSearch, data: Path | None, out: Path) -> list[CostEstimate]:
    """Return what language models are still to be asked by a search; catalogues are made for it."""
    recipes = search.build_trial_recipes()
    if not any(may_cost(recipe) for _, recipe in recipes):
        return []
    found, looked = dict[str, CostEstimate](), set[str]()
    with lock_run_folder(out / "run"):
        for tried, recipe in recipes:
            plan = _build_trial_stages(recipe, data, out / "run")
            last = plan["interests"].fingerprint
            if last in looked or "interests" not in plan[search.tuned_stage].list_ancestors():
                continue
            looked.add(last)
            write_recipe(recipe, data, out / "run", 1)
            try:
                for name in ("shop", "catalog"):
                    if name in plan:
                        plan[name].make_if_stale()
            except TriAlignError:
                if not tried:
                    raise
                continue  # is told when this trial's turn comes
            found |= {plan[cost.stage].fingerprint: cost for cost in estimate_costs(recipe, out / "run", plan.values())}
    return list(found.values())


def _describe_time_left(finished_trials: Sequence[Trial], num_trials: int) -> str:
    """Return how long the rest will take, if it is like what was."""
    if not finished_trials:
        return ""
    minutes = (
        sum(trial.seconds for trial in finished_trials)
        / len(finished_trials)
        * (num_trials - len(finished_trials))
        / 60
    )
    return f" (about {minutes:.0f} min left)"


def sort_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Return trials best first; the earlier of two alike, and failed ones last."""
    return sorted(trials, key=lambda trial: -1.0 if trial.score is None else trial.score, reverse=True)


def format_trials(trials: Sequence[Trial], protocol: str) -> str:
    """Return trials as a table for a terminal; ``protocol`` says what the scores mean."""
    lines = ["validation NDCG@10   seconds  settings"]
    for trial in trials:
        score = "failed" if trial.score is None else f"{trial.score:.4f}"
        description = " ".join(trial.changes) or "the recipe as it is"
        lines.append(f"{score:>18s} {trial.seconds:9.0f}  {description}{f': {trial.error}' if trial.error else ''}")
    return "\n".join([*lines, f"Chosen on validation targets: {protocol}; one seed; test targets were not looked at."])


def _parse_values(text: str) -> tuple[str, list[Any]]:
    """Return the setting and the values of ``a.b=[value, value]``."""
    key, _, listed = text.partition("=")
    try:
        values = tomllib.loads(f"values = {listed}")["values"]
    except tomllib.TOMLDecodeError:
        values = None
    if not key.strip() or not isinstance(values, list) or not values:
        raise RecipeError(f"--over {text!r} is not of the form a.b=[value, value]; text values stand in quotes.")
    return key.strip(), values


def _sample_combinations(space: Sequence[tuple[str, list[Any]]], num_trials: int, seed: int) -> list[tuple[str, ...]]:
    """Return so many of all combinations in random order: more trials of one seed begin with the same ones."""
    if not space:
        raise RecipeError("There is nothing to search: give --over 'a.b=[value, value]'.")
    every = list(islice(product(*(values for _, values in space)), MAX_COMBINATIONS + 1))
    if len(every) > MAX_COMBINATIONS:
        raise RecipeError(f"--over spans more than {MAX_COMBINATIONS:,} combinations; give fewer values.")
    order = np.random.default_rng(derive_seed(seed, "tune")).permutation(len(every))[:num_trials]
    return [
        tuple(f"{key}={json.dumps(value)}" for (key, _), value in zip(space, every[place], strict=True))
        for place in order
    ]


def _read_trial_recipe(name: str, changes: Sequence[str], stage: str) -> Recipe:
    recipe = read_recipe(name, changes)
    beside = recipe.evaluate.systems
    if stage not in SYSTEMS or stage in beside:
        return recipe
    tested = recipe.evaluate.model_copy(update={"systems": (*beside, stage)})
    return recipe.model_copy(update={"evaluate": tested})


def _run_trial(changes: tuple[str, ...], recipe: Recipe, data: Path | None, out: Path, stage: str) -> Trial:
    """Return a trial's result, from ``trials.json`` where it has been made before on this data."""
    folder, known = out / "run", _read_trials(out)
    plan = _build_trial_stages(recipe, data, folder)
    target = plan[stage]
    if target.fingerprint not in known:
        remove_published_files(folder)
        write_recipe(recipe, data, folder, 1)
        trial = _make_trial(changes, plan, target)
        if trial.score is None:  # not kept: what failed may be mended
            return trial
        known[target.fingerprint] = asdict(trial)
        write_json(out / TRIALS_FILE, known)
    else:
        log("  known from before, kept")
    return Trial(**known[target.fingerprint] | {"changes": changes})


def _build_trial_stages(recipe: Recipe, data: Path | None, folder: Path) -> dict[str, Stage]:
    """Return the stages of a trial by name."""
    context = StageContext(recipe, data, RunArtifacts(recipe, folder))
    return {stage.name: stage for stage in build_graph((*list_stage_specs(), PRIOR_SPEC), context)}


def _read_trials(out: Path) -> dict[str, Any]:
    path = out / TRIALS_FILE
    if not path.exists():
        return {}
    found = read_json(path, "delete it and search again; what was trained for it is trained again.")
    return {name: trial for name, trial in found.items() if name != SEAL}


def _make_trial(changes: tuple[str, ...], stages: dict[str, Stage], target: Stage) -> Trial:
    """Build a trial's stages. What fails as the recipe is stops the search; what fails by a change ends its trial."""
    needed = [stage for stage in stages.values() if stage.name in target.list_ancestors()]
    try:
        check_stages(needed, loads_models_here=not target.context.recipe.ray.address)
        for stage in needed:
            stage.make_if_stale()
            if stage.name == "catalog":
                check_data([*needed, target])
        facts = target.make_if_stale().facts
    except TriAlignError as error:
        if not changes:
            raise
        log(f"  failed: {error}")
        return Trial(changes, None, error=str(error))
    return Trial(changes, float(facts[SCORE_FACT]), facts["seconds"])


def _write_best_recipe(
    name: str, out: Path, trials: Sequence[Trial], recipes: Sequence[tuple[tuple[str, ...], Recipe]]
) -> None:
    best = sort_trials(trials)[0]
    if best.score is None:
        return
    recipe = dict(recipes)[best.changes]
    description = " ".join(best.changes) or "as it is"
    head = f"# Best of {len(trials)} on validation, NDCG@10 {best.score:.4f}: {name}, {description}"
    printable = "".join(letter if letter.isprintable() else " " for letter in head)
    write_text_atomically(out / BEST_FILE, f"{printable}\n{recipe.to_toml()}")
