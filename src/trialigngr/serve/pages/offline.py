"""`write_explorer`: tree and items of a run in one file that loads and runs nothing, for a paper or an issue."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from trialigngr.catalog.queries import Rows
from trialigngr.foundation.files import write_text_atomically
from trialigngr.foundation.seeds import derive_seed
from trialigngr.foundation.version import __version__
from trialigngr.report.render import build_environment, describe_content_policy
from trialigngr.report.thumbnails import Thumbnails
from trialigngr.runs.run import Run
from trialigngr.serve.engine import BatchEngine
from trialigngr.serve.item_models import BranchSummary, NeighbourSpace
from trialigngr.serve.item_pages import describe_detail, find_neighbours, summarize_branches
from trialigngr.serve.limits import QueueSettings
from trialigngr.serve.pages.run_card import build_run_card
from trialigngr.serve.pages.stylesheet import PACKAGE, read_stylesheet
from trialigngr.serve.served_run import ServedRun

NEIGHBOURS = 4
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class OfflineBranch:
    """A branch of the tree: its codes, what its items have in common, the branches below it, and its items as HTML,
    where it is a last one. ``num_left_out`` items of it are not in the file."""

    prefix: list[int]
    summary: BranchSummary
    branches: list[OfflineBranch]
    items: list[Markup]
    num_left_out: int


@dataclass(frozen=True)
class ExplorerFile:
    """What was written: the file, how many items stand in it, and of how many."""

    path: Path
    num_shown: int
    num_items: int


def write_explorer(run: Run, out: Path, max_megabytes: float) -> ExplorerFile:
    """Write the explorer of a run. Where not all items fit into the size, a random part of them (seeded) stands in the
    file, and it says so; the figures of all branches are of all their items."""
    served = ServedRun(run.folder.resolve().name, run, BatchEngine(run, QueueSettings()))
    environment, thumbnail = build_environment(PACKAGE), Thumbnails()
    style = read_stylesheet(environment)
    index, snapshot = served.index, served.snapshot
    rows = np.setdiff1d(np.arange(len(index.catalog)), snapshot.withdrawn_rows)
    draw_item = environment.get_template("offline_item.html.jinja").render

    def draw(row: int) -> Markup:
        item_id = index.catalog.item_ids[row]
        space: NeighbourSpace = "sid" if index.unit_vectors is None else "embedding"
        html = draw_item(
            item=describe_detail(served, item_id),
            picture=thumbnail(index.catalog.image_file(row)),
            near=[
                (other, index.catalog.find_row(other.item_id))
                for other in find_neighbours(served, item_id, space, NEIGHBOURS).neighbours
            ],
            row=row,
        )
        return Markup(html)  # noqa: S704  our own template, which escapes what it is given

    drawn = _draw_until(rows, draw, int(max_megabytes * MEGABYTE) - len(style))
    html = environment.get_template("offline.html.jinja").render(
        name=served.name,
        style=Markup(style),  # noqa: S704  our own file, nothing of it comes from data
        policy=describe_content_policy(style),
        page=build_run_card(served),
        whole=summarize_branches(index, rows, np.zeros(len(rows), dtype=np.int64)),
        branches=list(_build_branches(served, rows, [], drawn)),
        num_shown=len(drawn),
        num_items=len(rows),
        max_megabytes=max_megabytes,
        version=__version__,
    )
    write_text_atomically(out, html.encode("utf-8", "replace").decode("utf-8"))
    return ExplorerFile(out, len(drawn), len(rows))


def _draw_until(rows: Rows, draw: Callable[[int], Markup], max_bytes: int) -> dict[int, Markup]:
    """Return items as HTML by row, in random order, until the next does not fit."""
    drawn, used = dict[int, Markup](), 0
    for row in np.random.default_rng(derive_seed(0, "explorer")).permutation(rows).tolist():
        html = draw(row)
        used += len(html.encode("utf-8", "replace"))
        if used > max_bytes:
            break
        drawn[row] = html
    return {row: _cut_dead_links(html, drawn.keys()) for row, html in drawn.items()}


def _cut_dead_links(html: Markup, rows: Container[int]) -> Markup:
    """Return an item whose links lead nowhere but to rows that stand in the file."""
    cut = re.sub(r' href="#item-(\d+)"', lambda link: link[0] if int(link[1]) in rows else "", html)
    return Markup(cut)  # noqa: S704  as it was but for the links


def _build_branches(
    run: ServedRun, rows: Rows, prefix: Sequence[int], drawn: dict[int, Markup]
) -> Iterator[OfflineBranch]:
    """Yield the branches below a prefix: two levels of them, then items."""
    index, level = run.index, len(prefix)
    codes, groups = np.unique(index.codes_NL[rows, level], return_inverse=True)
    is_last = level == min(1, index.codes_NL.shape[1] - 1)
    for place, (code, summary) in enumerate(zip(codes.tolist(), summarize_branches(index, rows, groups), strict=True)):
        below = rows[groups == place]
        own = sorted(below.tolist(), key=lambda row: tuple(index.codes_NL[row].tolist()))
        shown = [drawn[row] for row in own if row in drawn]
        path = [*prefix, code]
        branches = [] if is_last else list(_build_branches(run, below, path, drawn))
        yield OfflineBranch(path, summary, branches, shown if is_last else [], len(own) - len(shown))
