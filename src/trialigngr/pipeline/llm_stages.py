"""The stages that ask language models, seen from a run: whether they can work, and what they will cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from trialigngr.catalog.items import Catalog
from trialigngr.catalog.prepare import load_catalog
from trialigngr.embed.encoders import check_encoders
from trialigngr.enrich.captions import CAPTIONS_FILE as CAPTIONS
from trialigngr.enrich.captions import CaptionJob, check_captioner, load_captions
from trialigngr.enrich.interests import INTERESTS_FILE as INTERESTS
from trialigngr.enrich.miners import check_miner
from trialigngr.enrich.mining import InterestJob
from trialigngr.foundation.artifact import check_file, is_finished
from trialigngr.foundation.tables import read_table
from trialigngr.llm.backends import LANGUAGE_MODELS
from trialigngr.llm.costs import CostEstimate, estimate_cost
from trialigngr.llm.jobs import iter_job_rows
from trialigngr.llm.response_cache import ResponseCache
from trialigngr.llm.settings import ServerSettings
from trialigngr.pipeline.stages import Stage
from trialigngr.recipes.recipe import Recipe

LLM_STAGE_FILES = {"captions": CAPTIONS, "interests": INTERESTS}
"""Stages that may ask a language model, in order → the file that says what became of each item."""
PLACEHOLDER_CAPTION = "…" * 300
"""Stands for a caption that is not written yet."""


@dataclass(frozen=True)
class LlmStage:
    """One stage that asks a language model."""

    job: CaptionJob | InterestJob
    server: ServerSettings
    max_runs: int

    @property
    def recorded_settings(self) -> dict[str, object]:
        """The settings that its answers depend on."""
        settings = self.job.settings
        return settings.identify_model(settings.generator)[1]


def check_generators(recipe: Recipe, plan: Iterable[Stage], loads_models_here: bool, ask: bool = True) -> None:
    """Raise a sentence when a stage that is not done, or asks again about failures, has a generator or an encoder that
    cannot work.

    So a mistake in a later stage is told before an earlier one is paid for. ``loads_models_here`` is False where
    workers elsewhere load the models, ``ask`` before whoever runs this has agreed that servers are asked anything.
    """
    open_ = {
        stage.name for stage in plan if stage.read_status() not in ("done", "depends") or count_retryable(recipe, stage)
    }
    if "captions" in open_:
        check_captioner(recipe.captions, recipe.calls.captions, loads_models_here, ask)
    if "interests" in open_:
        check_miner(recipe.interests, recipe.calls.interests, loads_models_here, ask)
    if "embeddings" in open_ and loads_models_here:
        check_encoders(recipe.embeddings)


def find_llm_stages(recipe: Recipe, run: Path) -> list[LlmStage]:
    """Return the stages of a run that ask a language model; none before its catalogue stands."""
    if not is_finished(run / "catalog"):
        return []
    calls, catalog, found = recipe.calls, load_catalog(run / "catalog"), list[LlmStage]()
    if recipe.captions.generator in LANGUAGE_MODELS:
        name, _ = recipe.captions.identify_model(recipe.captions.generator)
        found.append(LlmStage(CaptionJob(recipe.captions, catalog, name), calls.captions.openai, calls.max_runs))
    if recipe.interests.generator in LANGUAGE_MODELS:
        name, _ = recipe.interests.identify_model(recipe.interests.generator)
        captions = _captions_or_placeholders(recipe, run, catalog)
        job = InterestJob(recipe.interests, catalog, captions, name)
        found.append(LlmStage(job, calls.interests.openai, calls.max_runs))
    return found


def _captions_or_placeholders(recipe: Recipe, run: Path, catalog: Catalog) -> list[str | None]:
    if is_finished(run / "captions"):
        return load_captions(run / "captions")
    written = recipe.captions.generator != "none"
    return [PLACEHOLDER_CAPTION if written and catalog.image_file(row) else None for row in range(len(catalog))]


def estimate_costs(
    recipe: Recipe, run: Path, plan: Iterable[Stage] = (), cache_path: Path | None = None
) -> list[CostEstimate]:
    """Return what is left to do of the stages that ask language models, of those in ``plan`` whether they are done;
    ``cache_path`` is the run's unless given."""
    cache_path = cache_path or recipe.calls.cache_path(run)
    done = {stage.name for stage in plan if stage.read_status() == "done"}
    return [
        replace(
            estimate_cost(one.job, one.job.settings, one.server, one.max_runs, cache_path, size),
            done=one.job.origin.stage in done,
        )
        for one in find_llm_stages(recipe, run)
        if (size := len(one.job.catalog))
    ]


def describe_costs(recipe: Recipe, run: Path) -> Iterator[str]:
    """Yield a line for each stage that asks a language model."""
    asking = [name for name in ("captions", "interests") if getattr(recipe, name).generator in LANGUAGE_MODELS]
    if asking and not is_finished(run / "catalog"):
        yield f"{' and '.join(asking)}: what they cost is told when the catalogue stands (run with --until catalog)"
    for cost in estimate_costs(recipe, run):
        yield f"{cost.stage}: {cost}"


def may_cost(recipe: Recipe) -> bool:
    """Return whether a stage asks a language model that costs money or is elsewhere, as far as the recipe tells."""
    return any(
        settings.generator == "openai" and (backend.openai.may_cost_money or backend.openai.is_remote)
        for settings, backend in ((recipe.captions, recipe.calls.captions), (recipe.interests, recipe.calls.interests))
    )


def count_retryable(recipe: Recipe, stage: Stage) -> int:
    """Return of how many items a finished stage has no answer, though the response cache would let them be asked again
    or has an answer by now."""
    run, name = stage.folder.parent, stage.name
    cache_path = recipe.calls.cache_path(run)
    if name not in LLM_STAGE_FILES or getattr(recipe, name).generator not in LANGUAGE_MODELS or not cache_path.exists():
        return 0
    problems = read_table(check_file(stage.folder / LLM_STAGE_FILES[name]), ["problem"])["problem"]
    failed = problems.is_not_null().arg_true().to_list()
    asked = [one for one in find_llm_stages(recipe, run) if one.job.origin.stage == name] if failed else []
    if not asked:
        return 0
    one = asked[0]
    keys = [row.key for row in iter_job_rows(one.job, one.recorded_settings, failed)]
    with ResponseCache(cache_path) as cache:
        attempts = list(cache.read_attempts(keys, one.max_runs))
    return sum(row is not None and row.state in ("open", "done") for row in attempts)
