"""`run`: a recipe and a data folder become a run folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import SupportsIndex

from trialigngr.datasets.remote import DataSource, read_data_source
from trialigngr.foundation.arguments import read_path, read_text, read_texts, read_whole
from trialigngr.foundation.artifact import APPENDED, is_run
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArgumentError, ArtifactError, ErrorKind, RecipeError, did_you_mean
from trialigngr.foundation.files import remove_halves
from trialigngr.foundation.locks import try_lock_file
from trialigngr.llm.costs import CostEstimate
from trialigngr.pipeline.llm_costs import check_stages, count_retryable, estimate_costs, may_cost
from trialigngr.pipeline.model_training import help_train_models
from trialigngr.pipeline.publish import publish_run, publish_sids, remove_published_files, write_recipe
from trialigngr.pipeline.stage_graph import Stage
from trialigngr.pipeline.stages import build_stages
from trialigngr.recipes.recipe import Recipe, read_recipe
from trialigngr.runs.run import Run
from trialigngr.train.phases import find_phases
from trialigngr.train.process_group import join_process_group


def run(
    recipe: str | PathLike[str] | Recipe,
    data: str | PathLike[str] | DataSource | None,
    out: str | PathLike[str],
    *,
    changes: Iterable[str] = (),
    seeds: SupportsIndex = 1,
    until: str | None = None,
    shares_stages: bool = True,
) -> Run:
    """Run a recipe on a data folder or its address (None: the drawn shop) into ``out`` and return the run.

    ``changes`` are ``a.b=value`` settings; ``seeds`` trains that many models; ``until`` stops after the stage of that
    name. Stages that are done with the same settings and inputs are kept; those that a run beside ``out`` has done are
    linked, unless ``shares_stages`` is False. Raises `TriAlignError` for what can be
    mended. Under torchrun, the first process makes the run and the others help to train its models.
    """
    chosen, seeds = _resolve_recipe(recipe, changes), read_whole(seeds, "seeds")
    folder, source = read_path(out, "out"), None if data is None else read_data_source(data)
    until = None if until is None else read_text(until, "until")
    if seeds < 1:
        raise RecipeError(f"seeds = {seeds}: train at least one model.")
    _check_recipe_can_recommend(chosen)
    with join_process_group() as workers:
        if workers.is_main_process:
            plans = [
                build_stages(chosen, source, folder, seed, workers, shares_stages=shares_stages)
                for seed in range(seeds)
            ]
            _run_stages(plans, until)
            workers.broadcast_object(None)
        else:
            help_train_models(chosen, folder, workers)
    return Run(folder)


def _resolve_recipe(recipe: str | PathLike[str] | Recipe, changes: Iterable[str]) -> Recipe:
    changed = read_texts(changes, "changes", "train.max_steps=20")
    if not isinstance(recipe, Recipe):
        return read_recipe(str(read_path(recipe, "recipe")), changed)
    if changed:
        raise ArgumentError("changes are laid over a recipe that is named; change the Recipe itself.")
    return recipe


def _check_recipe_can_recommend(recipe: Recipe) -> None:
    """Raise `RecipeError` for settings that cannot recommend: told before hours of enrichment, not after."""
    if not recipe.has_generator:
        return
    recipe.tasks.find_recommendation_task()
    if (own := recipe.train.loss_softmax) != "full" and recipe.decode.score_softmax == "full":
        raise RecipeError(
            f"train.loss_softmax = {own} trains a SID's token against its level alone, and decode.score_softmax = full "
            "compares it with every other token; set decode.score_softmax = constrained."
        )
    if own == "trie" and recipe.train.unlikelihood_weight:
        raise RecipeError(
            "train.loss_softmax = trie and train.unlikelihood_weight do not go together; leave one of them off."
        )
    if recipe.decode.score_softmax == "full" and (recipe.prior.has_say or recipe.prior.items_weight):
        name = "prior.system" if recipe.prior.has_say else "prior.items_weight"
        raise RecipeError(f"{name} needs decode.score_softmax = constrained: only then are they both shares.")
    if recipe.prior.items_weight and not (recipe.model.items.hidden_size and recipe.model.items.loss_weight):
        raise RecipeError(
            "prior.items_weight mixes in what model.items learns to score; set model.items.hidden_size, such as 64, "
            "and a loss_weight above 0."
        )
    if own == "trie" and len(recipe.phases) > 1:
        raise RecipeError(
            f"train.loss_softmax = trie and phase {recipe.phases[1]} do not go together yet; set loss_softmax = level."
        )
    if recipe.train.torch_compile and recipe.train.fsdp:
        raise RecipeError("train.torch_compile and train.fsdp do not go together yet; leave one of them off.")
    if recipe.model.items.hidden_size:
        _check_items_can_be_trained(recipe)
    if whole := [phase.name for phase in find_phases(recipe.phases) if recipe.train.fsdp and not phase.takes_fsdp]:
        raise RecipeError(f"train.fsdp and phase {whole[0]} do not go together yet; leave one of them off.")


def _check_items_can_be_trained(recipe: Recipe) -> None:
    if recipe.train.fsdp:
        raise RecipeError("train.fsdp and model.items do not go together yet; leave one of them off.")
    if others := [phase.name for phase in find_phases(recipe.phases) if not phase.takes_items]:
        raise RecipeError(f"model.items and phase {others[0]} do not go together yet; leave one of them off.")


def estimate_run_costs(
    recipe: Recipe, data: DataSource | None, out: Path, until: str | None, shares_stages: bool = True
) -> list[CostEstimate]:
    """Return what language models are still to be asked by a run; its catalogue is made for it.

    Raises a sentence when a stage that is wanted cannot work: nobody is asked about the price of that.
    """
    if not may_cost(recipe):
        return []
    wanted = _select_stages(build_stages(recipe, data, out, 0, shares_stages=shares_stages), until)
    check_stages(wanted, loads_models_here=not recipe.ray.address, ask=False)
    run(recipe, data, out, until="catalog", shares_stages=shares_stages)
    names = {stage.name for stage in wanted if not stage.find_shared()}
    return [cost for cost in estimate_costs(recipe, out, wanted) if cost.stage in names]


def _select_stages(stages: list[Stage], until: str | None) -> list[Stage]:
    """Return the stages up to the one of a name; raise `RecipeError` when there is none of that name."""
    names = [stage.name for stage in stages]
    if until is not None and until not in names:
        raise RecipeError(
            f"There is no stage {until!r}; the stages are {', '.join(names)}.{did_you_mean(until, names)}"
        )
    return stages if until is None else stages[: names.index(until) + 1]


def _run_stages(plans: list[list[Stage]], until: str | None) -> None:
    """Make the stages of each seed's plan, and publish what is whole."""
    context, wanted = plans[0][0].context, _select_stages(plans[0], until)
    recipe, folder, seeds = context.recipe, context.run_folder, len(plans)
    with lock_run_folder(folder):
        check_stages(wanted, loads_models_here=not recipe.ray.address)
        _try_again(wanted)
        if any(stage.read_status() != "done" for plan in plans for stage in plan):
            remove_published_files(folder)
        write_recipe(recipe, context.data, folder, seeds)
        _make_stages(plans, until)
        if (folder / "sids").exists() and any(stage.name == "sids" for stage in wanted):
            publish_sids(recipe, folder)
        if len(wanted) == len(plans[0]):
            publish_run(recipe, folder, seeds)


def _try_again(wanted: Sequence[Stage]) -> None:
    """Let finished stages ask again about items that failed and may be tried once more; what changes by that is made
    anew after them."""
    for stage in wanted:
        if stage.read_status() == "done" and (failed := count_retryable(stage)):
            log(f"{stage.name}: {failed} items that failed before are tried again")
            stage.make_if_stale(rebuild=True)


def _make_stages(stages_by_seed: list[list[Stage]], until: str | None) -> None:
    made: set[Path] = set()
    for plan in stages_by_seed:
        for stage in plan:
            if stage.folder not in made:
                stage.make_if_stale()
                made.add(stage.folder)
                if stage.name == "catalog":
                    check_data(_select_stages(plan, until))
            if stage.name == until:
                break


def check_data(wanted: Sequence[Stage]) -> None:
    """Raise a sentence where the catalogue lacks what one of the stages needs."""
    for stage in wanted:
        stage.spec.check_data(stage.context)


@contextmanager
def lock_run_folder(out: Path) -> Iterator[None]:
    """Make the run folder and keep a second process out of it while this one writes to it."""
    _check_is_run_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    lock = try_lock_file(out / ".lock")
    if lock is None:
        raise ArtifactError(f"Another process is writing to {out}; wait for it, or use another folder.", ErrorKind.BUSY)
    try:
        _refuse_ways_out(out)
        remove_halves(out, "*")
        yield
    finally:
        lock.release()


def _check_is_run_folder(out: Path) -> None:
    """Refuse a file, and a folder that holds something else than a run: stages replace folders of their names."""
    if out.exists() and not out.is_dir():
        raise ArtifactError(f"{out} is a file; the run needs a folder of its own.")
    if out.is_dir() and not is_run(out) and any(path.name[0] != "." for path in out.iterdir()):
        raise ArtifactError(f"{out} is not empty and not a run (it has no recipe.toml); give a new folder.")


def _refuse_ways_out(out: Path) -> None:
    """Refuse links where folders are made by name and filled: what is written there would lie elsewhere."""
    for folder in (out / "seeds", out / APPENDED, out / "images"):
        below = folder.iterdir() if folder.is_dir() and folder.name != "images" else ()
        for path in (folder, *below):
            if path.is_symlink():
                raise ArtifactError(f"{path} is a link, and what is written there would lie elsewhere; remove it.")
