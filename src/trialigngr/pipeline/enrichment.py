"""The stages that ask language models, seen from a run: whether they can work, and what they will cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from trialigngr.catalog.items import Catalog
from trialigngr.catalog.prepare import load_catalog
from trialigngr.embed.encoders import check_encoders
from trialigngr.enrich.captions import FILE as CAPTIONS
from trialigngr.enrich.captions import Captioning, check_captioner, load_captions
from trialigngr.enrich.interests import FILE as INTERESTS
from trialigngr.enrich.miners import check_miner
from trialigngr.enrich.mining import Mining
from trialigngr.foundation.artifact import check_file, is_finished
from trialigngr.foundation.tables import read_table
from trialigngr.llm.backends import MODELS
from trialigngr.llm.costs import Cost, cost_of
from trialigngr.llm.generator import CallSettings
from trialigngr.llm.jobs import rows_of
from trialigngr.llm.response_cache import Ledger
from trialigngr.pipeline.stages import Stage
from trialigngr.recipes.recipe import Recipe

ASKING = {"captions": CAPTIONS, "interests": INTERESTS}
"""Stages that may ask a language model, in order → the file that says what became of each item."""
UNWRITTEN = "…" * 300
"""Stands for a caption that is not written yet."""


@dataclass(frozen=True)
class Asked:
    """One stage that asks a language model."""

    inquiry: Captioning | Mining
    calls: CallSettings

    @property
    def recorded(self) -> dict[str, object]:
        """The settings that its answers depend on."""
        settings = self.inquiry.settings
        return settings.identity(settings.generator, self.calls)[1]


def check_generators(recipe: Recipe, plan: Iterable[Stage], here: bool, ask: bool = True) -> None:
    """Raise a sentence when a stage that is not done, or asks again about failures, has a generator or an encoder that
    cannot work.

    So a mistake in a later stage is told before an earlier one is paid for. ``here`` is False where workers elsewhere
    load the models, ``ask`` before whoever runs this has agreed that servers are asked anything.
    """
    open_ = {stage.name for stage in plan if stage.status() not in ("done", "depends") or to_try_again(recipe, stage)}
    if "captions" in open_:
        check_captioner(recipe.captions, recipe.calls.captions, here, ask)
    if "interests" in open_:
        check_miner(recipe.interests, recipe.calls.interests, here, ask)
    if "embeddings" in open_ and here:
        check_encoders(recipe.embeddings)


def asked_stages(recipe: Recipe, run: Path) -> list[Asked]:
    """Return the stages of a run that ask a language model; none before its catalogue stands."""
    if not is_finished(run / "catalog"):
        return []
    catalog, found = load_catalog(run / "catalog"), list[Asked]()
    if recipe.captions.generator in MODELS:
        name, _ = recipe.captions.identity(recipe.captions.generator, recipe.calls.captions)
        found.append(Asked(Captioning(recipe.captions, catalog, name), recipe.calls.captions))
    if recipe.interests.generator in MODELS:
        name, _ = recipe.interests.identity(recipe.interests.generator, recipe.calls.interests)
        captions = _captions(recipe, run, catalog)
        found.append(Asked(Mining(recipe.interests, catalog, captions, name), recipe.calls.interests))
    return found


def _captions(recipe: Recipe, run: Path, catalog: Catalog) -> list[str | None]:
    if is_finished(run / "captions"):
        return load_captions(run / "captions")
    written = recipe.captions.generator != "none"
    return [UNWRITTEN if written and catalog.picture(row) else None for row in range(len(catalog))]


def costs(recipe: Recipe, run: Path, plan: Iterable[Stage] = (), ledger: Path | None = None) -> list[Cost]:
    """Return what is left to do of the stages that ask language models, of those in ``plan`` whether they are done;
    ``ledger`` is the run's unless given."""
    ledger = ledger or recipe.calls.ledger_of(run)
    done = {stage.name for stage in plan if stage.status() == "done"}
    return [
        replace(
            cost_of(one.inquiry, one.inquiry.settings, one.recorded, one.calls, ledger, size),
            done=one.inquiry.origin.stage in done,
        )
        for one in asked_stages(recipe, run)
        if one.inquiry.prompt is not None and (size := len(one.inquiry.catalog))
    ]


def cost_lines(recipe: Recipe, run: Path) -> Iterator[str]:
    """Yield a line for each stage that asks a language model."""
    asking = [name for name in ("captions", "interests") if getattr(recipe, name).generator in MODELS]
    if asking and not is_finished(run / "catalog"):
        yield f"{' and '.join(asking)}: what they cost is told when the catalogue stands (run with --until catalog)"
    for cost in costs(recipe, run):
        yield f"{cost.stage}: {cost}"


def may_cost(recipe: Recipe) -> bool:
    """Say whether a stage asks a language model that costs money or is elsewhere, as far as the recipe tells."""
    return any(
        getattr(recipe, name).generator in MODELS and (calls.paid or calls.away)
        for name, calls in (("captions", recipe.calls.captions), ("interests", recipe.calls.interests))
    )


def to_try_again(recipe: Recipe, stage: Stage) -> int:
    """Return of how many items a finished stage has no answer, though the ledger would let them be asked again or has
    an answer by now."""
    run, name = stage.folder.parent, stage.name
    ledger = recipe.calls.ledger_of(run)
    if name not in ASKING or getattr(recipe, name).generator not in MODELS or not ledger.exists():
        return 0
    problems = read_table(check_file(stage.folder / ASKING[name]), ["problem"])["problem"]
    failed = problems.is_not_null().arg_true().to_list()
    asked = [one for one in asked_stages(recipe, run) if one.inquiry.origin.stage == name] if failed else []
    if not asked:
        return 0
    one = asked[0]
    keys = [row.key for row in rows_of(one.inquiry, one.recorded, failed)]
    with Ledger(ledger) as book:
        tried = list(book.tried(keys, one.calls.retry_runs))
    return sum(row is not None and row.state in ("granted", "done") for row in tried)
