"""`tune`: a small search over settings of a recipe, judged on validation targets alone; killed, it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from trialigngr.datasets.remote import DataSource
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import RecipeError, TriAlignError
from trialigngr.foundation.files import write_text_atomically
from trialigngr.foundation.sealed import SEAL, read_json, write_json
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
from trialigngr.studies.search_space import SAMPLERS, Changes, RandomSampler, Sampler, SamplerName, SearchSpace
from trialigngr.systems.registry import SYSTEMS

TRIALS_FILE, BEST_FILE = "trials.json", "best.toml"
BUDGET = "budget"
"""Beside the trials in their file: what the search that is finished was allowed and took."""
MAX_PRICED_COMBINATIONS = 1000
"""Combinations whose costs are asked for before a search whose course nobody knows."""
SCORE_FACT = "valid_ndcg_10"
"""The fact of the tuned stage's manifest that holds the validation NDCG@10."""


@dataclass(frozen=True)
class Trial:
    """Changes to the recipe and what came of them; ``score`` is validation NDCG@10, None where training failed."""

    changes: Changes
    score: float | None
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class TuningSearch:
    """What is searched: a recipe with ``changes``, and ``search_space``, of the form ``a.b=[value, value]``.

    The recipe as it is comes first, then ``num_trials`` combinations that a sampler chooses (all, where there are no
    more).
    """

    recipe_name: str
    search_space: tuple[str, ...]
    changes: Changes = ()
    num_trials: int = 20
    seed: int = 0
    sampler_name: SamplerName = "random"

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
        return f"{whole}, at most {MAX_VALIDATED_USERS:,} users"

    @property
    def space(self) -> SearchSpace:
        """The settings and their values; raises `RecipeError` for what cannot be searched."""
        return SearchSpace.from_texts(self.search_space)

    @property
    def max_trials(self) -> int:
        """Trials at most, the recipe as it is among them."""
        return 1 + min(self.num_trials, self.space.num_combinations)

    def build_sampler(self) -> Sampler:
        """Return what chooses the combinations; raise `RecipeError` for a setting or value that does not fit."""
        if self.num_trials < 1:
            raise RecipeError(f"trials = {self.num_trials}: try at least one.")
        sampler = SAMPLERS[self.sampler_name](self.space, self.seed)
        for changes in ((), *self._list_checked_changes()):
            self.read_trial_recipe(changes)
        return sampler

    def read_trial_recipe(self, changes: Changes) -> Recipe:
        """Return the recipe of a trial; raise `RecipeError` for a setting or value that does not fit."""
        recipe, stage = read_recipe(self.recipe_name, (*self.changes, *changes)), self.tuned_stage
        beside = recipe.evaluate.systems
        if stage not in SYSTEMS or stage in beside:
            return recipe
        tested = recipe.evaluate.model_copy(update={"systems": (*beside, stage)})
        return recipe.model_copy(update={"evaluate": tested})

    def list_costly_changes(self) -> list[Changes]:
        """Return the changes of all trials that there may be, the recipe as it is first; none where nothing of them
        can cost anything."""
        self.build_sampler()
        checked = [(), *self._list_checked_changes()]
        if not any(may_cost(self.read_trial_recipe(changes)) for changes in checked):
            return []
        if self.sampler_name == "random":
            return checked
        if self.space.num_combinations > MAX_PRICED_COMBINATIONS:
            raise RecipeError(
                f"What {self.space.num_combinations:,} combinations may cost cannot be told beforehand; give fewer "
                "values, --sampler random, or --yes."
            )
        return [(), *self.space.iter_combinations()]

    def describe_budget(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """Return what was spent on the search."""
        seconds = round(sum(trial.seconds for trial in trials), 1)
        return {"sampler": self.sampler_name, "seed": self.seed, "trials": len(trials), "seconds": seconds}

    def _list_checked_changes(self) -> list[Changes]:
        """Return the combinations that are read before anything is trained: all that will be tried, or some with each
        value where the next one hangs on the scores."""
        if self.sampler_name == "tpe":
            return self.space.cover_values()
        return list(islice(RandomSampler(self.space, self.seed).combinations, self.num_trials))


def tune_recipe(search: TuningSearch, data: DataSource | None, out: Path) -> list[Trial]:
    """Try settings of a recipe on validation targets, write ``trials.json`` and ``best.toml``, return the best first.

    Test targets are never looked at. Raises `RecipeError` for a setting or value that does not fit, before anything is
    trained. A search that was killed asks its sampler from the beginning and answers with the scores of
    ``trials.json``, so it goes on as it would have.
    """
    sampler, num_trials = search.build_sampler(), search.max_trials
    found: list[Trial] = []
    with lock_run_folder(out / "run"):
        changes: Changes | None = ()
        while changes is not None:
            description = " ".join(changes) or "the recipe as it is"
            log(f"trial {len(found) + 1} of {num_trials}{_describe_time_left(found, num_trials)}: {description}")
            found.append(_run_trial(search, changes, data, out))
            _write_best_recipe(search, out, found)
            if changes:
                sampler.record(found[-1].score)
            changes = sampler.suggest() if len(found) < num_trials else None
        write_json(out / TRIALS_FILE, _read_trials(out) | {BUDGET: search.describe_budget(found)})
    return sort_trials(found)


def estimate_search_costs(search: TuningSearch, data: DataSource | None, out: Path) -> list[CostEstimate]:
    """Return what language models are still to be asked by a search; catalogues are made for it."""
    found, looked = dict[str, CostEstimate](), set[str]()
    possible = search.list_costly_changes()
    if not possible:
        return []
    with lock_run_folder(out / "run"):
        for tried in possible:
            try:
                recipe = search.read_trial_recipe(tried)
            except RecipeError:
                continue  # is told when this trial's turn comes
            plan = _build_trial_stages(recipe, data, out / "run")
            last = plan["interests"].fingerprint
            if last in looked or "interests" not in plan[search.tuned_stage].list_ancestors():
                continue
            looked.add(last)
            write_recipe(recipe, data, out / "run", 1)
            try:
                for name in ("data", "shop", "catalog"):
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


def format_budget(budget: Mapping[str, Any]) -> str:
    """Return what was spent on a search as words."""
    return "{trials} trials by {sampler} search, seed {seed}, {seconds:,.0f} s".format_map(budget)


def format_trials(trials: Sequence[Trial], search: TuningSearch) -> str:
    """Return trials as a table for a terminal, with what the scores mean and what was spent."""
    lines = ["validation NDCG@10   seconds  settings"]
    for trial in trials:
        score = "failed" if trial.score is None else f"{trial.score:.4f}"
        description = " ".join(trial.changes) or "the recipe as it is"
        lines.append(f"{score:>18s} {trial.seconds:9.0f}  {description}{f': {trial.error}' if trial.error else ''}")
    how = f"Chosen on validation targets: {search.protocol_text}; one seed; test targets were not looked at."
    return "\n".join([*lines, how, f"Budget: {format_budget(search.describe_budget(trials))}."])


def _run_trial(search: TuningSearch, changes: Changes, data: DataSource | None, out: Path) -> Trial:
    """Return a trial's result, from ``trials.json`` where it has been made before on this data."""
    folder, known = out / "run", _read_trials(out)
    try:
        recipe = search.read_trial_recipe(changes)
    except RecipeError as error:
        return _record_failure(changes, error)
    plan = _build_trial_stages(recipe, data, folder)
    target = plan[search.tuned_stage]
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


def _build_trial_stages(recipe: Recipe, data: DataSource | None, folder: Path) -> dict[str, Stage]:
    """Return the stages of a trial by name."""
    context = StageContext(recipe, data, RunArtifacts(recipe, folder))
    return {stage.name: stage for stage in build_graph((*list_stage_specs(), PRIOR_SPEC), context)}


def _read_trials(out: Path) -> dict[str, Any]:
    path = out / TRIALS_FILE
    if not path.exists():
        return {}
    found = read_json(path, "delete it and search again; what was trained for it is trained again.")
    return {name: trial for name, trial in found.items() if name not in (SEAL, BUDGET)}


def _make_trial(changes: Changes, stages: dict[str, Stage], target: Stage) -> Trial:
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
        return _record_failure(changes, error)
    return Trial(changes, float(facts[SCORE_FACT]), facts["seconds"])


def _record_failure(changes: Changes, error: TriAlignError) -> Trial:
    """Return what comes of a trial that failed."""
    log(f"  failed: {error}")
    return Trial(changes, None, error=str(error))


def _write_best_recipe(search: TuningSearch, out: Path, trials: Sequence[Trial]) -> None:
    best = sort_trials(trials)[0]
    if best.score is None:
        return
    description = " ".join(best.changes) or "as it is"
    head = (
        f"# Best of {format_budget(search.describe_budget(trials))}, on validation, NDCG@10 {best.score:.4f}: "
        f"{search.recipe_name}, {description}"
    )
    printable = "".join(letter if letter.isprintable() else " " for letter in head)
    write_text_atomically(out / BEST_FILE, f"{printable}\n{search.read_trial_recipe(best.changes).to_toml()}")
