"""`recommend_all`: the best items for every user of a run, as a table; killed, it goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import polars as pl

from trialigngr.catalog.histories import Targets
from trialigngr.decode.recommend import DecodeSettings, Recommender
from trialigngr.foundation.arguments import Id, read_path
from trialigngr.foundation.artifact import file_hash, fingerprint
from trialigngr.foundation.console import progress
from trialigngr.foundation.errors import CatalogError
from trialigngr.foundation.files import refuse_links
from trialigngr.foundation.tables import read_table, write_table
from trialigngr.runs.artifacts import Rows
from trialigngr.runs.recommendation_table import recommendations
from trialigngr.runs.recommender import Offer
from trialigngr.runs.request import Request, read_k
from trialigngr.runs.run import Run

CHUNK = 2048
"""Users decoded between two files."""
COLUMNS = {"user_id": pl.String, "rank": pl.Int64, "item_id": pl.String, "score": pl.Float64}
"""The columns of the table and their types."""


def recommend_all(
    run: Run,
    out: str | PathLike[str],
    k: SupportsIndex = 10,
    *,
    unseen: bool = True,
    deny: Iterable[Id] = (),
    only: Iterable[Id] | None = None,
    category: str | None = None,
) -> int:
    """Write ``out`` (Parquet: user_id, rank, item_id, score), the best k items for each user; return the users.

    The file's metadata name beams and normalisation.
    What may come back is said as in a `Request`. If k items are allowed for a user, k come back. Finished chunks
    survive a kill in a folder beside ``out`` that the same call takes up. Raises `CatalogError` for k < 1, for a name
    that is not Parquet's, and for an unknown item or category.
    """
    out, k = read_path(out, "out"), read_k(k)
    if out.suffix != ".parquet":
        raise CatalogError(f"{out}: the recommendations are written as Parquet; give a name that ends in .parquet.")
    offer = run.offer
    request = Request.of(unseen=unseen, deny=deny, only=only, category=category)
    offer.filters([], request)  # an unknown name is refused before anything is written
    histories, settings = offer.parts.histories, run.recipe.decode.model_copy(update={"beams": offer.beams_for(k)})
    users = np.argsort(-histories.lengths, kind="stable")
    users = users[histories.lengths[users] > 0]
    offered = {batch.name: "" for batch in offer.parts.batches} | {f"-{item}": "" for item in offer.parts.withdrawn}
    wanted = fingerprint(
        "everyone of k",
        {"k": k, "decode": settings.model_dump(mode="json"), **_asked(request)},
        {name: run.manifest(name).identity for name in ("model", "catalog")} | offered,
    )
    chunks = out.parent / f".{out.name}.{wanted}"
    refuse_links(chunks)
    chunks.mkdir(parents=True, exist_ok=True)
    with progress("recommend", len(users)) as advance:
        for start in range(0, len(users), CHUNK):
            here, name = users[start : start + CHUNK], f"{start:09d}"
            if not _is_there(chunks, name):
                write_table(_recommended(offer, here, k, request, settings), chunks / "new")
                (chunks / "new").replace(chunks / f"{name}-{file_hash(chunks / 'new')}.parquet")
            advance(len(here))
    table = pl.concat([read_table(path) for path in sorted(chunks.glob("*.parquet"))])
    order = {name: place for place, name in enumerate(histories.user_ids)}
    ordered = table.sort(table["user_id"].replace_strict(order, return_dtype=pl.Int64), table["rank"])
    told = {"beams": str(settings.beams), "normalisation": settings.normalisation}
    write_table(ordered, out, metadata=told)
    shutil.rmtree(chunks)
    return len(users)


def _is_there(chunks: Path, name: str) -> bool:
    """Say whether a chunk is there as it was written, which its name tells; remove one that is not."""
    found = [path for path in chunks.glob(f"{name}-*.parquet") if path.stem != f"{name}-{file_hash(path)}"]
    for path in found:
        path.unlink()
    return any(chunks.glob(f"{name}-*.parquet"))


def _asked(request: Request) -> dict[str, Any]:
    """Return a request as JSON has it, the same whatever the order of its items."""
    only = None if request.only is None else sorted(request.only)
    return asdict(request) | {"deny": sorted(request.deny), "only": only}


def _recommended(offer: Offer, users: Rows, k: int, request: Request, settings: DecodeSettings) -> pl.DataFrame:
    parts, own = offer.parts, offer.recommender
    taken = [parts.histories.sequence(int(user)) for user in users]
    allowed = offer.filters(taken, request)
    recommender = Recommender(own.search, own.prompt, settings)
    beams = recommender.all_beams([rows[-parts.recipe.prompt.history_cap :] for rows in taken], allowed)
    behind = Targets(users, parts.histories.lengths[users])
    table = recommendations(parts, recommender.rankings(beams, k, allowed), behind, k)
    return table.select(pl.col(name).cast(dtype) for name, dtype in COLUMNS.items())  # empty ones are of no type yet
