"""`recommend_all`: the best items for every user of a run, as a table; killed, it goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl

from trialigngr.catalog.histories import Targets
from trialigngr.decode.recommend import DecodeSettings, Recommender
from trialigngr.foundation.artifact import fingerprint
from trialigngr.foundation.console import progress
from trialigngr.foundation.errors import CatalogError
from trialigngr.pipeline.loaded import Run
from trialigngr.pipeline.offer import Offer
from trialigngr.pipeline.parts import Rows
from trialigngr.pipeline.ranking import recommendations

CHUNK = 2048
"""Users decoded between two files."""


def recommend_all(run: Run, out: Path, k: int = 10, *, unseen: bool = True) -> int:
    """Write ``out`` (Parquet: user_id, rank, item_id, score), the best k items for each user; return the users.

    Finished chunks survive a kill in a folder beside ``out`` that the same call takes up. Raises `CatalogError` for
    k < 1 and for a name that is not Parquet's.
    """
    if k < 1:
        raise CatalogError(f"k = {k}: ask for at least one item.")
    if out.suffix != ".parquet":
        raise CatalogError(f"{out}: the recommendations are written as Parquet; give a name that ends in .parquet.")
    offer = run.offer
    histories, settings = offer.parts.histories, run.recipe.decode.model_copy(update={"beams": offer.beams_for(k)})
    users = np.argsort(-histories.lengths, kind="stable")
    users = users[histories.lengths[users] > 0]
    offered = {batch.name: "" for batch in offer.parts.batches} | {f"-{item}": "" for item in offer.parts.withdrawn}
    wanted = fingerprint(
        "everyone of k",
        {"k": k, "unseen": unseen, "decode": settings.model_dump(mode="json")},
        {"model": run.manifest("model").fingerprint, **offered},
    )
    chunks = out.parent / f".{out.name}.{wanted}"
    chunks.mkdir(parents=True, exist_ok=True)
    with progress("recommend", len(users)) as advance:
        for start in range(0, len(users), CHUNK):
            here, path = users[start : start + CHUNK], chunks / f"{start:09d}.parquet"
            if not path.exists():
                _recommended(offer, here, k, unseen, settings).write_parquet(path.with_suffix(".new"))
                path.with_suffix(".new").replace(path)
            advance(len(here))
    table = pl.concat([pl.read_parquet(path) for path in sorted(chunks.glob("*.parquet"))])
    order = {name: place for place, name in enumerate(histories.user_ids)}
    ordered = table.sort(table["user_id"].replace_strict(order, return_dtype=pl.Int64), table["rank"])
    ordered.write_parquet(chunks / "whole.new")
    (chunks / "whole.new").replace(out)
    shutil.rmtree(chunks)
    return len(users)


def _recommended(offer: Offer, users: Rows, k: int, unseen: bool, settings: DecodeSettings) -> pl.DataFrame:
    parts, own = offer.parts, offer.recommender
    taken = [parts.histories.sequence(int(user)) for user in users]
    gone = parts.withdrawn_rows
    banned = [np.concatenate([rows, gone]) if unseen else gone for rows in taken]
    recommender = Recommender(own.search, own.prompt, settings)
    beams = recommender.all_beams([rows[-parts.recipe.prompt.history_cap :] for rows in taken], banned)
    behind = Targets(users, parts.histories.lengths[users])
    return recommendations(parts, recommender.rankings(beams, k, banned), behind, k).drop("position")
