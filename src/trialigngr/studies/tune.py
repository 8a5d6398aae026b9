"""`tune`: a small search over settings of a recipe, judged on validation targets alone; killed, it goes on."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from trialigngr.evaluate.ranker import ranks
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import RecipeError, TriAlignError
from trialigngr.foundation.files import write_text_atomically
from trialigngr.foundation.sealed import SEAL, read_json, write_json
from trialigngr.foundation.seeds import child
from trialigngr.llm.costs import Cost
from trialigngr.metrics.ranks import ndcg
from trialigngr.pipeline.enrichment import check_generators, costs, may_cost
from trialigngr.pipeline.finish import withdraw, write_recipe
from trialigngr.pipeline.running import alone
from trialigngr.pipeline.stages import Stage, stages
from trialigngr.recipes.recipe import Recipe, read_recipe
from trialigngr.runs.artifacts import Parts
from trialigngr.systems.co_occurrence import CoOccurrence

TRIALS, BEST = "trials.json", "best.toml"
LARGEST = 100_000
"""Combinations of values at most."""
SCORES = {"model": "best", "sasrec": "valid_ndcg_10", "co-occurrence": "valid_ndcg_10"}
"""Stage that is tuned → the fact of its manifest that holds the validation NDCG@10."""
ALONE = {frozenset({"sasrec"}): "sasrec", frozenset({"co_occurrence"}): "co-occurrence"}
"""Settings that vary alone → the stage that is tuned then."""


@dataclass(frozen=True)
class Trial:
    """Changes to the recipe and what came of them; ``score`` is validation NDCG@10, None where training failed."""

    changes: tuple[str, ...]
    score: float | None
    seconds: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Search:
    """What is searched: a recipe with ``changes``, and ``over``, of the form ``a.b=[value, value]``.

    The recipe as it is comes first, then ``trials`` of all combinations in random order (all, where there are no more).
    """

    name: str
    over: tuple[str, ...]
    changes: tuple[str, ...] = ()
    trials: int = 20
    seed: int = 0

    @property
    def stage(self) -> str:
        """The stage that is tuned: where only a baseline's settings vary, only that is fitted."""
        return ALONE.get(frozenset(text.strip().partition(".")[0] for text in self.over), "model")

    @property
    def protocol(self) -> str:
        """What a score means."""
        recipe = read_recipe(self.name, self.changes)
        whole = "item level, the whole catalogue, seen items not masked"
        if self.stage == "model":
            beams = f"{recipe.decode.beams} beams over the {recipe.decode.normalisation}"
            return f"{whole}, at most {recipe.train.validate_users:,} users, {beams}"
        if self.stage == "sasrec":
            return f"{whole}, at most {recipe.sasrec.validate_users:,} users"
        return f"{whole}, all users"

    def recipes(self) -> list[tuple[tuple[str, ...], Recipe]]:
        """Return the changes and the recipe of every trial; raise `RecipeError` for a setting or value that does not
        fit."""
        if self.trials < 1:
            raise RecipeError(f"trials = {self.trials}: try at least one.")
        tried = [(), *_combinations([_values(text) for text in self.over], self.trials, self.seed)]
        return [(one, _recipe(self.name, (*self.changes, *one), self.stage)) for one in tried]


def tune(search: Search, data: Path | None, out: Path) -> list[Trial]:
    """Try settings of a recipe on validation targets, write ``trials.json`` and ``best.toml``, return the best first.

    Test targets are never looked at. Raises `RecipeError` for a setting or value that does not fit, before anything is
    trained.
    """
    recipes = search.recipes()
    found: list[Trial] = []
    with alone(out / "run"):
        for number, (tried, recipe) in enumerate(recipes, 1):
            told = " ".join(tried) or "the recipe as it is"
            log(f"trial {number} of {len(recipes)}{_left(found, len(recipes))}: {told}")
            found.append(_trial(tried, recipe, data, out, search.stage))
            _write_best(search.name, out, found, recipes)
    return ordered(found)


def search_costs(search: Search, data: Path | None, out: Path) -> list[Cost]:
    """Return what language models are still to be asked by a search; catalogues are made for it."""
    recipes = search.recipes()
    if not any(may_cost(recipe) for _, recipe in recipes):
        return []
    found, looked = dict[str, Cost](), set[str]()
    with alone(out / "run"):
        for tried, recipe in recipes:
            plan = {own.name: own for own in stages(recipe, data, out / "run", 0)}
            last = plan["interests"].fingerprint
            if last in looked or "interests" not in _needed(plan, _target(search.stage, recipe, plan, out / "run")):
                continue
            looked.add(last)
            write_recipe(recipe, data, out / "run", 1)
            try:
                for name in ("shop", "catalog"):
                    if name in plan:
                        plan[name].make()
            except TriAlignError:
                if not tried:
                    raise
                continue  # is told when this trial's turn comes
            found |= {plan[cost.stage].fingerprint: cost for cost in costs(recipe, out / "run", plan.values())}
    return list(found.values())


def _left(found: Sequence[Trial], trials: int) -> str:
    """Return how long the rest will take, if it is like what was."""
    if not found:
        return ""
    minutes = sum(trial.seconds for trial in found) / len(found) * (trials - len(found)) / 60
    return f" (about {minutes:.0f} min left)"


def ordered(found: Sequence[Trial]) -> list[Trial]:
    """Return trials best first; the earlier of two alike, and failed ones last."""
    return sorted(found, key=lambda trial: -1.0 if trial.score is None else trial.score, reverse=True)


def as_text(found: Sequence[Trial], how: str) -> str:
    """Return trials as a table for a terminal; ``how`` says what the scores mean."""
    lines = ["validation NDCG@10   seconds  settings"]
    for trial in found:
        score = "failed" if trial.score is None else f"{trial.score:.4f}"
        told = " ".join(trial.changes) or "the recipe as it is"
        lines.append(f"{score:>18s} {trial.seconds:9.0f}  {told}{f': {trial.problem}' if trial.problem else ''}")
    return "\n".join([*lines, f"Chosen on validation targets: {how}; one seed; test targets were not looked at."])


def _values(text: str) -> tuple[str, list[Any]]:
    """Return the setting and the values of ``a.b=[value, value]``."""
    key, _, listed = text.partition("=")
    try:
        values = tomllib.loads(f"values = {listed}")["values"]
    except tomllib.TOMLDecodeError:
        values = None
    if not key.strip() or not isinstance(values, list) or not values:
        raise RecipeError(f"--over {text!r} is not of the form a.b=[value, value]; text values stand in quotes.")
    return key.strip(), values


def _combinations(space: Sequence[tuple[str, list[Any]]], trials: int, seed: int) -> list[tuple[str, ...]]:
    """Return so many of all combinations in random order: more trials of one seed begin with the same ones."""
    if not space:
        raise RecipeError("There is nothing to search: give --over 'a.b=[value, value]'.")
    every = list(islice(product(*(values for _, values in space)), LARGEST + 1))
    if len(every) > LARGEST:
        raise RecipeError(f"--over spans more than {LARGEST:,} combinations; give fewer values.")
    order = np.random.default_rng(child(seed, "tune")).permutation(len(every))[:trials]
    return [
        tuple(f"{key}={json.dumps(value)}" for (key, _), value in zip(space, every[place], strict=True))
        for place in order
    ]


def _recipe(name: str, changes: Sequence[str], stage: str) -> Recipe:
    recipe = read_recipe(name, changes)
    beside = recipe.evaluate.baselines
    if stage != "sasrec" or "sasrec" in beside:
        return recipe
    tested = recipe.evaluate.model_copy(update={"baselines": (*beside, "sasrec")})
    return recipe.model_copy(update={"evaluate": tested})


def _trial(tried: tuple[str, ...], recipe: Recipe, data: Path | None, out: Path, stage: str) -> Trial:
    """Return a trial's result, from ``trials.json`` where it has been made before on this data."""
    folder, known = out / "run", _known(out)
    plan = {own.name: own for own in stages(recipe, data, folder, 0)}
    target = _target(stage, recipe, plan, folder)
    if target.fingerprint not in known:
        withdraw(folder)
        write_recipe(recipe, data, folder, 1)
        trial = _made(tried, recipe, plan, target)
        if trial.score is None:  # not kept: what failed may be mended
            return trial
        known[target.fingerprint] = asdict(trial)
        write_json(out / TRIALS, known)
    else:
        log("  known from before, kept")
    return Trial(**known[target.fingerprint] | {"changes": tried})


def _target(name: str, recipe: Recipe, plan: Mapping[str, Stage], folder: Path) -> Stage:
    """Return the stage that is tuned. That of co-occurrence, which no run has, as fitting takes seconds, only says how
    good it is on all validation targets."""
    if name in plan:
        return plan[name]

    def fit(_to: Path) -> dict[str, Any]:
        parts = Parts(recipe, folder)
        targets = parts.histories.targets("valid")
        ranker = CoOccurrence(recipe.co_occurrence, parts.histories, len(parts.catalog))
        found = ndcg(ranks(ranker, parts.histories, targets, unseen=False), 10)
        return {"valid_ndcg_10": round(float(found.mean()), 6)}

    above = plan["catalog"]
    parents = {above.name: above.fingerprint}
    return Stage(name, folder / name, recipe.co_occurrence, parents, fit, above=(above,))


def _known(out: Path) -> dict[str, Any]:
    path = out / TRIALS
    if not path.exists():
        return {}
    found = read_json(path, "delete it and search again; what was trained for it is trained again.")
    return {name: trial for name, trial in found.items() if name != SEAL}


def _made(tried: tuple[str, ...], recipe: Recipe, plan: dict[str, Stage], target: Stage) -> Trial:
    """Build a trial's stages. What fails as the recipe is stops the search; what fails by a change ends its trial."""
    needed = _needed(plan, target)
    try:
        check_generators(recipe, [plan[name] for name in needed], here=not recipe.ray.address)
        for name in plan:
            if name in needed:
                plan[name].make()
        facts = target.make().facts
    except TriAlignError as error:
        if not tried:
            raise
        log(f"  failed: {error}")
        return Trial(tried, None, problem=str(error))
    return Trial(tried, float(facts[SCORES[target.name]]), facts["seconds"])


def _needed(plan: dict[str, Stage], target: Stage) -> set[str]:
    """Return the stages that a stage is made from."""
    parents = {name for name in target.parents if name in plan}
    return parents.union(*(_needed(plan, plan[name]) for name in parents))


def _write_best(
    name: str, out: Path, found: Sequence[Trial], recipes: Sequence[tuple[tuple[str, ...], Recipe]]
) -> None:
    best = ordered(found)[0]
    if best.score is None:
        return
    recipe = dict(recipes)[best.changes]
    told = " ".join(best.changes) or "as it is"
    head = f"# Best of {len(found)} on validation, NDCG@10 {best.score:.4f}: {name}, {told}"
    printable = "".join(letter if letter.isprintable() else " " for letter in head)
    write_text_atomically(out / BEST, f"{printable}\n{recipe.to_toml()}")
