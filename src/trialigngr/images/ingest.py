"""Bring the pictures of a catalogue to where stages find them: fetched, unpacked, reduced once; or known to fail."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.console import log, progress
from trialigngr.foundation.errors import CatalogError, PictureError
from trialigngr.foundation.tables import read_table, write_table
from trialigngr.images.download import Fetcher, FetchSettings, PictureSettings, UnnamedHostError, UnreachableError
from trialigngr.images.paths import ADDRESS, DATA, URL
from trialigngr.images.pictures import NOT_ALLOWED, quiet
from trialigngr.images.store import PictureStore

FILE = "pictures.parquet"
SCHEMA = {"item_id": pl.String, "file": pl.String, "problem": pl.String}
NAMED = 5
"""Most hosts that the log names."""


class Placed(NamedTuple):
    """Where a picture is kept (relative to the store's folder; None: the file serves as it is), or why it is not."""

    file: str | None
    problem: str | None = None


def place_pictures(what: PictureSettings, how: FetchSettings, root: Path, out: Path) -> dict[str, Any]:
    """Bring the pictures of ``out/items.parquet`` to where they are opened and return the facts.

    Writes ``pictures.parquet`` (item_id, file in ``how.folder``, problem) of the items whose picture is kept there or
    failed, and takes addresses and data URLs out of ``image_path``; paths there are relative to ``root``. Raises
    `CatalogError` when so many in a row cannot be reached that it must be the network.
    """
    items = read_table(out / "items.parquet")
    # An image_url that is none is left alone: as a path it could lead anywhere.
    sources = items.select(pl.coalesce("image_path", _only("image_url", URL))).to_series()
    with _working(what, how) as (store, pool):
        placed, hosts = _placed(sources.drop_nulls().unique(maintain_order=True), store, pool, root, how)
    rows = [placed.get(source, Placed(None)) for source in sources]
    table = pl.DataFrame(
        [(item_id, *row) for item_id, row in zip(items["item_id"], rows, strict=True) if any(row)],
        schema=SCHEMA,
        orient="row",
    )
    write_table(table, out / FILE)
    write_table(_without_urls(items), out / "items.parquet")
    failed = dict(Counter(row.problem for row in rows if row.problem).most_common())
    _say(failed, hosts)
    return {"kept": sum(row.file is not None for row in rows), "failed": failed}


def _without_urls(items: pl.DataFrame) -> pl.DataFrame:
    """Return the items with nothing but paths in ``image_path``, and no data URL, long as it may be, anywhere."""
    path, url = pl.col("image_path"), pl.col("image_url")
    return items.with_columns(
        pl.when(~path.str.contains(URL)).then(path).alias("image_path"),
        pl.coalesce(pl.when(~url.str.contains(DATA)).then(url), _only("image_path", ADDRESS)).alias("image_url"),
    )


def _only(column: str, pattern: str) -> pl.Expr:
    return pl.when(pl.col(column).str.contains(pattern)).then(column)


@contextmanager
def _working(what: PictureSettings, how: FetchSettings) -> Iterator[tuple[PictureStore, ThreadPoolExecutor]]:
    """Give a store and threads to fill it; whatever happens, nothing goes on in them afterwards."""
    fetcher = Fetcher(what, how)
    with quiet():
        pool = ThreadPoolExecutor(how.concurrency, "picture")
        try:
            yield PictureStore(Path(how.folder), what, fetcher), pool
        finally:
            fetcher.stop()
            pool.shutdown(cancel_futures=True)


def _placed(
    sources: pl.Series, store: PictureStore, pool: ThreadPoolExecutor, root: Path, how: FetchSettings
) -> tuple[dict[str, Placed], Counter[str]]:
    """Return what became of every source, and how often a host was met that no setting names."""
    found: dict[str, Placed] = {}
    hosts = Counter[str]()
    lost = 0
    with progress("Getting pictures", len(sources)) as advance:
        for source, future in _in_turn(pool, store, root, sources, 4 * how.concurrency):
            try:
                kept = future.result()
                found[source] = Placed(None if kept is None else kept.relative_to(store.folder).as_posix())
                lost = 0
            except PictureError as error:
                found[source] = Placed(None, error.reason)
                lost = lost + 1 if isinstance(error, UnreachableError) else 0
                hosts.update([error.host] if isinstance(error, UnnamedHostError) else [])
                if lost == how.give_up_after:
                    raise CatalogError(
                        f"The last {lost} pictures could not be reached, at last: {error} What was fetched is kept; "
                        "mend the network and run again, or go on without with a higher calls.pictures.give_up_after."
                    ) from None
            advance()
    return found, hosts


def _in_turn(
    pool: ThreadPoolExecutor, store: PictureStore, root: Path, sources: Iterable[str], ahead: int
) -> Iterator[tuple[str, Future[Path | None]]]:
    """Yield the sources in order with what becomes of them, never more than ``ahead`` of them begun."""
    begun: deque[tuple[str, Future[Path | None]]] = deque()
    for source in sources:
        begun.append((source, pool.submit(store.place, source, root)))
        if len(begun) == ahead:
            yield begun.popleft()
    yield from begun


def _say(failed: dict[str, int], hosts: Counter[str]) -> None:
    if hosts:
        named = ", ".join(f"{host} {n:,}" for host, n in hosts.most_common(NAMED))
        log(
            f"catalog: {hosts.total():,} pictures lie on hosts that catalog.pictures.hosts does not name ({named}); "
            "they are not fetched, and their items stay without"
        )
    others = {reason: n for reason, n in failed.items() if reason != NOT_ALLOWED}
    if others:
        told = ", ".join(f"{reason} {n:,}" for reason, n in others.items())
        log(f"catalog: {sum(others.values()):,} pictures could not be had ({told}); their items stay, without")


def placed_paths(items: pl.DataFrame, catalog: Path, folder: Path) -> tuple[pl.DataFrame, dict[str, str]]:
    """Return items whose ``image_path`` is that of the kept picture where there is one, and the problems by item id."""
    table = read_table(check_file(catalog / FILE))
    kept = table.select("item_id", kept=pl.concat_str(pl.lit(f"{folder}{os.sep}"), "file"))
    paths = items.select("item_id", "image_path").join(kept, on="item_id", how="left", maintain_order="left")
    problems = table.drop_nulls("problem").select("item_id", "problem")
    return items.with_columns(paths.select(pl.coalesce("kept", "image_path").alias("image_path"))), dict(
        problems.iter_rows()
    )
