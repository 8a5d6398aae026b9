"""`recommend_all`: the best items for every user of a run, as a table; killed, it goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl

from trialigngr.decode.recommend import Recommender
from trialigngr.foundation.artifact import fingerprint
from trialigngr.foundation.console import progress
from trialigngr.foundation.errors import CatalogError
from trialigngr.pipeline.loaded import Run
from trialigngr.pipeline.parts import Rows

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
    histories = run.live.histories
    users = np.argsort(-histories.lengths, kind="stable")
    users = users[histories.lengths[users] > 0]
    offered = {batch.name: "" for batch in run.live.batches} | {f"-{item}": "" for item in run.live.withdrawn}
    wanted = fingerprint(
        "everyone", {"k": k, "unseen": unseen}, {"model": run.manifest("model").fingerprint, **offered}
    )
    chunks = out.parent / f".{out.name}.{wanted}"
    chunks.mkdir(parents=True, exist_ok=True)
    with progress("recommend", len(users)) as advance:
        for start in range(0, len(users), CHUNK):
            here, path = users[start : start + CHUNK], chunks / f"{start:09d}.parquet"
            if not path.exists():
                _recommended(run, here, k, unseen).write_parquet(path.with_suffix(".new"))
                path.with_suffix(".new").replace(path)
            advance(len(here))
    table = pl.concat([pl.read_parquet(path) for path in sorted(chunks.glob("*.parquet"))])
    order = {name: place for place, name in enumerate(histories.user_ids)}
    ordered = table.sort(table["user_id"].replace_strict(order, return_dtype=pl.Int64), table["rank"])
    ordered.write_parquet(chunks / "whole.new")
    (chunks / "whole.new").replace(out)
    shutil.rmtree(chunks)
    return len(users)


def _recommended(run: Run, users: Rows, k: int, unseen: bool) -> pl.DataFrame:
    live, own = run.live, run.recommender
    settings = own.settings.model_copy(update={"beams": max(own.settings.beams, k)})
    taken = [live.histories.sequence(int(user)) for user in users]
    banned = [np.concatenate([rows, live.withdrawn_rows]) if unseen else live.withdrawn_rows for rows in taken]
    recommender = Recommender(own.search, own.prompt, settings)
    beams = recommender.all_beams([rows[-run.recipe.prompt.history_cap :] for rows in taken], banned)
    rankings = recommender.rankings(beams, k, banned)
    lengths = [len(ranking.rows) for ranking in rankings]
    return pl.DataFrame(
        {
            "user_id": [
                live.histories.user_ids[user] for user, n in zip(users, lengths, strict=True) for _ in range(n)
            ],
            "rank": [rank for n in lengths for rank in range(1, n + 1)],
            "item_id": [live.catalog.ids[row] for ranking in rankings for row in ranking.rows],
            "score": [float(score) for ranking in rankings for score in ranking.scores],
        }
    )
