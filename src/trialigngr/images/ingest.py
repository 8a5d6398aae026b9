"""Bring the pictures of a catalogue to where stages find them: fetched, unpacked, reduced once; or known to fail."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from trialigngr.foundation.console import log, show_progress
from trialigngr.foundation.errors import CatalogError, ImageError
from trialigngr.foundation.tables import read_table, write_table
from trialigngr.images.download import HostNotAllowedError, ImageDownloader, UnreachableError
from trialigngr.images.image_open import HOST_NOT_ALLOWED, ignore_pillow_warnings
from trialigngr.images.image_store import ImageStore
from trialigngr.images.paths import DATA_URL_PATTERN, HTTP_PATTERN, URL_PATTERN
from trialigngr.images.records import IMAGES_FILE, IMAGES_SCHEMA
from trialigngr.images.settings import DownloadSettings, ImageSettings

MAX_LOGGED_HOSTS = 5
"""Most hosts that the log names."""


class IngestResult(NamedTuple):
    """Where a picture is kept (relative to the store's folder; None: the file serves as it is), or why it is not."""

    file: str | None
    problem: str | None = None


def ingest_images(
    image_settings: ImageSettings, download_settings: DownloadSettings, root: Path, out: Path
) -> dict[str, Any]:
    """Bring the pictures of ``out/items.parquet`` to where they are opened and return the facts.

    Writes ``images.parquet`` (item_id, file in ``how.folder``, problem) of the items whose picture is kept there or
    failed, and takes addresses and data URLs out of ``image_path``; paths there are relative to ``root``. Raises
    `CatalogError` when so many in a row cannot be reached that it must be the network.
    """
    items = read_table(out / "items.parquet")
    # An image_url that is none is left alone: as a path it could lead anywhere.
    sources = items.select(pl.coalesce("image_path", _keep_matching("image_url", URL_PATTERN))).to_series()
    with _open_store(image_settings, download_settings) as (store, pool):
        placed, hosts = _ingest_sources(
            sources.drop_nulls().unique(maintain_order=True), store, pool, root, download_settings
        )
    rows = [placed.get(source, IngestResult(None)) for source in sources]
    table = pl.DataFrame(
        [(item_id, *row) for item_id, row in zip(items["item_id"], rows, strict=True) if any(row)],
        schema=IMAGES_SCHEMA,
        orient="row",
    )
    write_table(table, out / IMAGES_FILE)
    write_table(_drop_urls(items), out / "items.parquet")
    failed = dict(Counter(row.problem for row in rows if row.problem).most_common())
    _log_failures(failed, hosts)
    return {"kept": sum(row.file is not None for row in rows), "failed": failed}


def _drop_urls(items: pl.DataFrame) -> pl.DataFrame:
    """Return the items with nothing but paths in ``image_path``, and no data URL, long as it may be, anywhere."""
    path, url = pl.col("image_path"), pl.col("image_url")
    return items.with_columns(
        pl.when(~path.str.contains(URL_PATTERN)).then(path).alias("image_path"),
        pl.coalesce(
            pl.when(~url.str.contains(DATA_URL_PATTERN)).then(url), _keep_matching("image_path", HTTP_PATTERN)
        ).alias("image_url"),
    )


def _keep_matching(column: str, pattern: str) -> pl.Expr:
    return pl.when(pl.col(column).str.contains(pattern)).then(column)


@contextmanager
def _open_store(
    image_settings: ImageSettings, download_settings: DownloadSettings
) -> Iterator[tuple[ImageStore, ThreadPoolExecutor]]:
    """Give a store and threads to fill it; whatever happens, nothing goes on in them afterwards."""
    fetcher = ImageDownloader(image_settings, download_settings)
    with ignore_pillow_warnings():
        pool = ThreadPoolExecutor(download_settings.max_concurrency, "picture")
        try:
            yield ImageStore(Path(download_settings.store_folder), image_settings, fetcher), pool
        finally:
            fetcher.cancel_retries()
            pool.shutdown(cancel_futures=True)


def _ingest_sources(
    sources: pl.Series, store: ImageStore, pool: ThreadPoolExecutor, root: Path, download_settings: DownloadSettings
) -> tuple[dict[str, IngestResult], Counter[str]]:
    """Return what became of every source, and how often a host was met that no setting names."""
    found: dict[str, IngestResult] = {}
    hosts = Counter[str]()
    lost = 0
    with show_progress("Getting pictures", len(sources)) as advance:
        for source, future in _submit_in_order(pool, store, root, sources, 4 * download_settings.max_concurrency):
            try:
                kept = future.result()
                found[source] = IngestResult(None if kept is None else kept.relative_to(store.folder).as_posix())
                lost = 0
            except ImageError as error:
                found[source] = IngestResult(None, error.reason)
                lost = lost + 1 if isinstance(error, UnreachableError) else 0
                hosts.update([error.host] if isinstance(error, HostNotAllowedError) else [])
                if lost == download_settings.max_consecutive_failures:
                    raise CatalogError(
                        f"The last {lost} pictures could not be reached, at last: {error} What was fetched is kept; "
                        "mend the network and run again, or go on without with a higher "
                        "calls.images.max_consecutive_failures."
                    ) from None
            advance()
    return found, hosts


def _submit_in_order(
    pool: ThreadPoolExecutor, store: ImageStore, root: Path, sources: Iterable[str], max_pending: int
) -> Iterator[tuple[str, Future[Path | None]]]:
    """Yield the sources in order with what becomes of them, never more than ``max_pending`` of them begun."""
    begun: deque[tuple[str, Future[Path | None]]] = deque()
    for source in sources:
        begun.append((source, pool.submit(store.store_image, source, root)))
        if len(begun) == max_pending:
            yield begun.popleft()
    yield from begun


def _log_failures(failed: dict[str, int], hosts: Counter[str]) -> None:
    if hosts:
        named = ", ".join(f"{host} {n:,}" for host, n in hosts.most_common(MAX_LOGGED_HOSTS))
        log(
            f"catalog: {hosts.total():,} pictures lie on hosts that catalog.images.allowed_hosts does not name "
            f"({named}); they are not fetched, and their items are without one"
        )
    others = {reason: n for reason, n in failed.items() if reason != HOST_NOT_ALLOWED}
    if others:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in others.items())
        log(f"catalog: {sum(others.values()):,} pictures could not be had ({reasons}); their items are without one")
