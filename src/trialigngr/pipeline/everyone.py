"""`recommend_all`: the best items for every user of a run, as a table; killed, it goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import asdict
from os import PathLike
from typing import Any, SupportsIndex

import numpy as np
import polars as pl

from trialigngr.catalog.histories import Targets
from trialigngr.decode.recommend import DecodeSettings, Recommender
from trialigngr.foundation.arguments import Id, read_path
from trialigngr.foundation.artifact import fingerprint
from trialigngr.foundation.console import progress
from trialigngr.foundation.errors import CatalogError
from trialigngr.pipeline.loaded import Run
from trialigngr.pipeline.offer import Offer
from trialigngr.pipeline.parts import Rows
from trialigngr.pipeline.ranking import recommendations
from trialigngr.pipeline.request import Request, read_k

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
        {"model": run.manifest("model").fingerprint, **offered},
    )
    chunks = out.parent / f".{out.name}.{wanted}"
    chunks.mkdir(parents=True, exist_ok=True)
    with progress("recommend", len(users)) as advance:
        for start in range(0, len(users), CHUNK):
            here, path = users[start : start + CHUNK], chunks / f"{start:09d}.parquet"
            if not path.exists():
                _recommended(offer, here, k, request, settings).write_parquet(path.with_suffix(".new"))
                path.with_suffix(".new").replace(path)
            advance(len(here))
    table = pl.concat([pl.read_parquet(path) for path in sorted(chunks.glob("*.parquet"))])
    order = {name: place for place, name in enumerate(histories.user_ids)}
    ordered = table.sort(table["user_id"].replace_strict(order, return_dtype=pl.Int64), table["rank"])
    told = {"beams": str(settings.beams), "normalisation": settings.normalisation}
    ordered.write_parquet(chunks / "whole.new", metadata=told)
    (chunks / "whole.new").replace(out)
    shutil.rmtree(chunks)
    return len(users)


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
