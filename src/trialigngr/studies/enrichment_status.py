"""How the stages of a run stand that ask language models, and what they made of an item, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from trialigngr.catalog.dataset import load_catalog
from trialigngr.enrich.caption_table import CAPTIONS_FILE as CAPTIONS
from trialigngr.enrich.captions import CaptionJob
from trialigngr.enrich.interests import INTERESTS_FILE as INTERESTS
from trialigngr.enrich.mining import InterestJob
from trialigngr.foundation.artifact import check_file, is_finished
from trialigngr.foundation.tables import read_table
from trialigngr.images.image_open import FAILURE_REASONS, HOST_NOT_ALLOWED
from trialigngr.llm.jobs import iter_job_rows
from trialigngr.llm.response_cache import Attempts, ResponseCache
from trialigngr.pipeline.llm_costs import find_llm_stages
from trialigngr.pipeline.llm_stage import LlmStage
from trialigngr.recipes.recipe import Recipe


def describe_status(recipe: Recipe, run: Path, max_items: int) -> Iterator[str]:
    """Yield how the stages stand that ask language models, and the items that failed, ``max_items`` of each problem."""
    cache_path = recipe.calls.cache_path(run)
    if not cache_path.exists():
        yield f"There is no response cache {cache_path}: no language model was asked for this run."
        return
    if not is_finished(run / "catalog"):
        return
    with ResponseCache(cache_path) as cache:
        for stage in find_llm_stages(recipe).values():
            yield from _describe_stage(stage, stage.build_job(recipe, run, stage.model_name), cache, max_items)


def _describe_stage(
    stage: LlmStage, job: CaptionJob | InterestJob, cache: ResponseCache, max_items: int
) -> Iterator[str]:
    origin, ids = job.origin, job.catalog.item_ids
    rows = list(iter_job_rows(job, stage.recorded_settings, range(len(ids))))
    tried = list(cache.read_attempts((row.key for row in rows), stage.max_runs))
    known = {ids[row.number]: found for row, found in zip(rows, tried, strict=True) if found is not None}
    failed = {item_id: found for item_id, found in known.items() if found.problem and found.state != "done"}
    done = sum(found.state == "done" for found in known.values())
    to_do = len(rows) - done - len(failed)
    again = sum(found.state == "open" for found in failed.values())
    yield (
        f"{origin.stage} by {origin.generator}: {done:,} done, {len(failed):,} failed"
        f"{f' ({again:,} of them to be tried again)' if again else ''}, {to_do:,} to do"
    )
    yield from _describe_problems(
        {item_id: found.problem or "" for item_id, found in failed.items()}, max_items, failed
    )
    if repeated := sum(found.repeated_calls for found in known.values()):
        yield f"  calls made again after a run was broken off: {repeated:,}"


def describe_image_failures(run: Path, max_items: int) -> Iterator[str]:
    """Yield how many pictures failed, for which reason, and ``max_items`` of the items.

    Addresses of hosts that no setting allows are a choice, not a fault, and often all there are: they get one line.
    """
    if not is_finished(run / "catalog"):
        return
    failed = dict(load_catalog(run / "catalog").image_records.problems)
    if is_finished(run / "captions"):
        table = read_table(check_file(run / "captions" / CAPTIONS)).filter(
            pl.col("problem").is_in(list(FAILURE_REASONS))
        )
        failed |= dict(table.select("item_id", "problem").iter_rows())
    if refused := [item_id for item_id, problem in failed.items() if problem == HOST_NOT_ALLOWED]:
        yield f"pictures: {len(refused):,} not fetched, as catalog.images.allowed_hosts does not name their hosts"
    failed = {item_id: problem for item_id, problem in failed.items() if problem != HOST_NOT_ALLOWED}
    if failed:
        yield f"pictures: {len(failed):,} failed"
        yield from _describe_problems(failed, max_items)


def _describe_problems(
    failed: Mapping[str, str], max_items: int, attempts: Mapping[str, Attempts] | None = None
) -> Iterator[str]:
    """Yield a line for each problem, the most frequent first, with ``max_items`` of its items and how often they were
    tried."""
    items: dict[str, list[str]] = {}
    for item_id, problem in failed.items():
        items.setdefault(problem, []).append(item_id)
    for problem, some in sorted(items.items(), key=lambda pair: -len(pair[1])):
        named = f"{', '.join(some[:max_items])}{' …' if len(some) > max_items else ''}"
        tried = _describe_attempts([attempts[item_id] for item_id in some]) if attempts else ""
        yield f"  {len(some):,} × {problem}: {named}{tried}"


def _describe_attempts(attempts: Sequence[Attempts]) -> str:
    """Say in how many runs and by how many calls some items were tried."""
    runs, calls = sorted({one.runs for one in attempts}), sum(one.calls for one in attempts)
    return f" (tried in {'–'.join(map(str, dict.fromkeys((runs[0], runs[-1]))))} runs, {calls:,} calls)"


def describe_item(run: Path, item_id: str) -> dict[str, str]:
    """Return what a run has of an item in words; raise `CatalogError` for an item that is not known."""
    catalog = load_catalog(run / "catalog")
    row = catalog.find_row(item_id)
    captions = read_table(check_file(run / "captions" / CAPTIONS)).row(row, named=True)
    mined = read_table(check_file(run / "interests" / INTERESTS)).row(row, named=True)
    tags = "; ".join(f"{tag['tag']} ({tag['confidence']})" for tag in mined["tags"])
    return {
        "item": f"{item_id}  {catalog[row].display_name}",
        "picture": str(catalog.image_file(row) or _describe_missing(catalog.image_records.problems.get(item_id))),
        "caption": _describe_answer(captions["caption"], captions),
        "interests": _describe_answer(tags, mined),
        "lifestyle": mined["lifestyle"] or "none",
    }


def _describe_missing(problem: str | None) -> str:
    return f"none: {problem}" if problem else "none"


def _describe_answer(text: str | None, row: dict[str, str | None]) -> str:
    return f"{text} [{row['generator']}]" if text and not row["problem"] else _describe_missing(row["problem"])
