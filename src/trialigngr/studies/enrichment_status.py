"""How the stages of a run stand that ask language models, and what they made of an item, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from trialigngr.catalog.prepare import load_catalog
from trialigngr.enrich.captions import FILE as CAPTIONS
from trialigngr.enrich.interests import FILE as INTERESTS
from trialigngr.foundation.artifact import check_file, is_finished
from trialigngr.foundation.tables import read_table
from trialigngr.images.pictures import NOT_ALLOWED, REASONS
from trialigngr.llm.jobs import rows_of
from trialigngr.llm.response_cache import Ledger, Tried
from trialigngr.pipeline.enrichment import Asked, asked_stages
from trialigngr.recipes.recipe import Recipe


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
    if not is_finished(run / "catalog"):
        return
    failed = dict(load_catalog(run / "catalog").kept.problems)
    if is_finished(run / "captions"):
        table = read_table(check_file(run / "captions" / CAPTIONS)).filter(pl.col("problem").is_in(list(REASONS)))
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
    captions = read_table(check_file(run / "captions" / CAPTIONS)).row(row, named=True)
    mined = read_table(check_file(run / "interests" / INTERESTS)).row(row, named=True)
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
