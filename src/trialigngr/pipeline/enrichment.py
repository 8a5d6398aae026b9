"""The stages that ask language models, seen from a run: what they will cost, and how they stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from trialigngr.enrich.ledger import Ledger, Tried
from trialigngr.enrich.models import MODELS
from trialigngr.foundation.artifact import MANIFEST
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


def to_try_again(recipe: Recipe, run: Path, name: str) -> int:
    """Return of how many items a finished stage has no answer, though the ledger would let them be asked again or has
    an answer by now."""
    folder, ledger = run / name, recipe.calls.ledger_of(run)
    if getattr(recipe, name).generator not in MODELS or not ledger.exists():
        return 0
    problems = pl.read_parquet(folder / ASKING[name])["problem"]
    failed = problems.is_not_null().arg_true().to_list()
    asked = [one for one in asked_stages(recipe, run) if one.inquiry.origin.stage == name] if failed else []
    if not asked:
        return 0
    one = asked[0]
    keys = [row.key for row in rows_of(one.inquiry, one.recorded, failed)]
    with Ledger(ledger) as book:
        tried = list(book.tried(keys, one.calls.retry_runs))
    return sum(row is not None and row.state in ("granted", "done") for row in tried)


def _stage_lines(one: Asked, book: Ledger, most: int) -> Iterator[str]:
    origin, ids = one.inquiry.origin, one.inquiry.catalog.ids
    rows = list(rows_of(one.inquiry, one.recorded, range(len(ids))))
    tried = list(book.tried((row.key for row in rows), one.calls.retry_runs))
    known = {ids[row.number]: found for row, found in zip(rows, tried, strict=True) if found is not None}
    failed = {item_id: found for item_id, found in known.items() if found.problem and found.state != "done"}
    done = sum(found.state == "done" for found in known.values())
    to_do = len(rows) - done - len(failed)
    again = sum(found.state == "granted" for found in failed.values())
    yield (
        f"{origin.stage} by {origin.generator}: {done:,} done, {len(failed):,} failed"
        f"{f' ({again:,} of them to be tried again)' if again else ''}, {to_do:,} to do"
    )
    yield from _by_problem({item_id: found.problem or "" for item_id, found in failed.items()}, most, failed)
    if repeated := sum(found.again for found in known.values()):
        yield f"  calls made again after a run was broken off: {repeated:,}"


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


def _by_problem(failed: Mapping[str, str], most: int, tried: Mapping[str, Tried] | None = None) -> Iterator[str]:
    """Yield a line for each problem, the most frequent first, with ``most`` of its items and how often they were
    tried."""
    items: dict[str, list[str]] = {}
    for item_id, problem in failed.items():
        items.setdefault(problem, []).append(item_id)
    for problem, some in sorted(items.items(), key=lambda pair: -len(pair[1])):
        named = f"{', '.join(some[:most])}{' …' if len(some) > most else ''}"
        yield f"  {len(some):,} × {problem}: {named}{_effort([tried[item_id] for item_id in some]) if tried else ''}"


def _effort(tried: Sequence[Tried]) -> str:
    """Say in how many runs and by how many calls some items were tried."""
    runs, calls = sorted({one.runs for one in tried}), sum(one.calls for one in tried)
    return f" (tried in {'–'.join(map(str, dict.fromkeys((runs[0], runs[-1]))))} runs, {calls:,} calls)"


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
