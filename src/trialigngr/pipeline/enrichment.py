"""The stages that ask language models, seen from a run: what they will cost, and how they stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from trialigngr.catalog.items import Catalog
from trialigngr.catalog.pictures import NOT_ALLOWED, REASONS
from trialigngr.catalog.prepare import load_catalog
from trialigngr.embed.encoders import check_encoders
from trialigngr.enrich.asking import rows_of
from trialigngr.enrich.captions import FILE as CAPTIONS
from trialigngr.enrich.captions import Captioning, check_captioner, load_captions
from trialigngr.enrich.costs import Cost, cost_of
from trialigngr.enrich.generator import CallSettings
from trialigngr.enrich.interests import FILE as INTERESTS
from trialigngr.enrich.interests import Mining, check_miner
from trialigngr.enrich.ledger import Ledger
from trialigngr.enrich.models import MODELS
from trialigngr.foundation.artifact import MANIFEST
from trialigngr.pipeline.stages import Stage
from trialigngr.recipes.recipe import Recipe

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
        return settings.identity(settings.generator)[1]


def check_generators(recipe: Recipe, plan: Iterable[Stage], here: bool) -> None:
    """Raise a sentence when a stage that is not done has a generator or an encoder that cannot work.

    So a mistake in a later stage is told before an earlier one is paid for. ``here`` is False where workers elsewhere
    load the models.
    """
    open_ = {stage.name for stage in plan if stage.status() != "done"}
    if "captions" in open_:
        check_captioner(recipe.captions, recipe.calls.captions, here)
    if "interests" in open_:
        check_miner(recipe.interests, recipe.calls.interests, here)
    if "embeddings" in open_ and here:
        check_encoders(recipe.embeddings)


def asked_stages(recipe: Recipe, run: Path) -> list[Asked]:
    """Return the stages of a run that ask a language model; none before its catalogue stands."""
    if not (run / "catalog" / MANIFEST).is_file():
        return []
    catalog, found = load_catalog(run / "catalog"), list[Asked]()
    if recipe.captions.generator in MODELS:
        name, _ = recipe.captions.identity(recipe.captions.generator)
        found.append(Asked(Captioning(recipe.captions, catalog, name), recipe.calls.captions))
    if recipe.interests.generator in MODELS:
        name, _ = recipe.interests.identity(recipe.interests.generator)
        captions = _captions(recipe, run, catalog)
        found.append(Asked(Mining(recipe.interests, catalog, captions, name), recipe.calls.interests))
    return found


def _captions(recipe: Recipe, run: Path, catalog: Catalog) -> list[str | None]:
    if (run / "captions" / MANIFEST).is_file():
        return load_captions(run / "captions")
    written = recipe.captions.generator != "none"
    return [UNWRITTEN if written and catalog.picture(row) else None for row in range(len(catalog))]


def costs(recipe: Recipe, run: Path, ledger: Path | None = None) -> list[Cost]:
    """Return what is left to do of the stages that ask language models; ``ledger`` is the run's unless given."""
    ledger = ledger or recipe.calls.ledger_of(run)
    return [
        cost_of(one.inquiry, one.inquiry.settings, one.recorded, one.calls, ledger, size)
        for one in asked_stages(recipe, run)
        if one.inquiry.prompt is not None and (size := len(one.inquiry.catalog))
    ]


def cost_lines(recipe: Recipe, run: Path) -> Iterator[str]:
    """Yield a line for each stage that asks a language model."""
    asking = [name for name in ("captions", "interests") if getattr(recipe, name).generator in MODELS]
    if asking and not (run / "catalog" / MANIFEST).is_file():
        yield f"{' and '.join(asking)}: what they cost is told when the catalogue stands (run with --until catalog)"
    for cost in costs(recipe, run):
        yield f"{cost.stage}: {cost}"


def may_cost(recipe: Recipe) -> bool:
    """Say whether a stage asks a language model that costs money, as far as the recipe tells."""
    return any(
        getattr(recipe, name).generator in MODELS and calls.paid
        for name, calls in (("captions", recipe.calls.captions), ("interests", recipe.calls.interests))
    )


def status_lines(recipe: Recipe, run: Path, most: int) -> Iterator[str]:
    """Yield how the stages stand that ask language models, and the items that failed, ``most`` of each problem."""
    ledger = recipe.calls.ledger_of(run)
    if not ledger.exists():
        yield f"There is no ledger {ledger}: no language model was asked for this run."
        return
    with Ledger(ledger) as book:
        for one in asked_stages(recipe, run):
            yield from _stage_lines(one, book, most)


def _stage_lines(one: Asked, book: Ledger, most: int) -> Iterator[str]:
    origin, ids = one.inquiry.origin, one.inquiry.catalog.ids
    rows = list(rows_of(one.inquiry, one.recorded, range(len(ids))))
    kept = list(book.kept(row.key for row in rows))
    failed = {
        ids[row.number]: answer.problem or ""
        for row, answer in zip(rows, kept, strict=True)
        if answer is not None and answer.text is None
    }
    done = sum(answer is not None and answer.text is not None for answer in kept)
    lost = len(failed)
    yield f"{origin.stage} by {origin.generator}: {done:,} done, {lost:,} failed, {len(rows) - done - lost:,} to do"
    yield from _by_problem(failed, most)


def picture_lines(run: Path, most: int) -> Iterator[str]:
    """Yield how many pictures failed, for which reason, and ``most`` of the items.

    Addresses of hosts that no setting allows are a choice, not a fault, and often all there are: they get one line.
    """
    if not (run / "catalog" / MANIFEST).is_file():
        return
    failed = dict(load_catalog(run / "catalog").kept.problems)
    if (run / "captions" / MANIFEST).is_file():
        table = pl.read_parquet(run / "captions" / CAPTIONS).filter(pl.col("problem").is_in(list(REASONS)))
        failed |= dict(table.select("item_id", "problem").iter_rows())
    if refused := [item_id for item_id, problem in failed.items() if problem == NOT_ALLOWED]:
        yield f"pictures: {len(refused):,} not fetched, as catalog.pictures.hosts does not name their hosts"
    failed = {item_id: problem for item_id, problem in failed.items() if problem != NOT_ALLOWED}
    if failed:
        yield f"pictures: {len(failed):,} failed"
        yield from _by_problem(failed, most)


def _by_problem(failed: Mapping[str, str], most: int) -> Iterator[str]:
    """Yield a line for each problem, the most frequent first, with ``most`` of its items."""
    items: dict[str, list[str]] = {}
    for item_id, problem in failed.items():
        items.setdefault(problem, []).append(item_id)
    for problem, some in sorted(items.items(), key=lambda pair: -len(pair[1])):
        yield f"  {len(some):,} × {problem}: {', '.join(some[:most])}{' …' if len(some) > most else ''}"


def shown(run: Path, item_id: str) -> dict[str, str]:
    """Return what a run has of an item in words; raise `CatalogError` for an item that is not known."""
    catalog = load_catalog(run / "catalog")
    row = catalog.row(item_id)
    captions = pl.read_parquet(run / "captions" / CAPTIONS).row(row, named=True)
    mined = pl.read_parquet(run / "interests" / INTERESTS).row(row, named=True)
    tags = "; ".join(f"{tag['tag']} ({tag['confidence']})" for tag in mined["tags"])
    return {
        "item": f"{item_id}  {catalog[row].name}",
        "picture": str(catalog.picture(row) or _none(catalog.kept.problems.get(item_id))),
        "caption": _told(captions["caption"], captions),
        "interests": _told(tags, mined),
        "lifestyle": mined["lifestyle"] or "none",
    }


def _none(problem: str | None) -> str:
    return f"none: {problem}" if problem else "none"


def _told(text: str | None, row: dict[str, str | None]) -> str:
    return f"{text} [{row['generator']}]" if text and not row["problem"] else _none(row["problem"])
