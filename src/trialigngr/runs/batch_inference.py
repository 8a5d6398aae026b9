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
from trialigngr.evaluate.system import System
from trialigngr.foundation.arguments import Id, read_path
from trialigngr.foundation.artifact import compute_fingerprint, hash_file
from trialigngr.foundation.console import show_progress
from trialigngr.foundation.errors import CatalogError
from trialigngr.foundation.files import refuse_links
from trialigngr.foundation.tables import read_table, write_table
from trialigngr.runs.artifacts import Rows
from trialigngr.runs.recommendation_table import build_recommendation_table
from trialigngr.runs.recommender import Recommender
from trialigngr.runs.request import RecommendRequest
from trialigngr.runs.run import Run
from trialigngr.systems.registry import writes_sids

CHUNK_USERS = 2048
"""Users decoded between two files."""
OUTPUT_COLUMNS = {"user_id": pl.String, "rank": pl.Int64, "item_id": pl.String, "score": pl.Float64}
"""The columns of the table and their types."""


def recommend_all(
    run: Run,
    out: str | PathLike[str],
    k: SupportsIndex = 10,
    *,
    unseen: bool | None = None,
    deny: Iterable[Id] = (),
    only: Iterable[Id] | None = None,
    category: str | None = None,
    system: str = "",
) -> int:
    """Write ``out`` (Parquet: user_id, rank, item_id, score), the best k items for each user; return the users.

    The file's metadata name the system, and of one that writes SIDs beams and normalisation. What may come back is said
    as in a `RecommendRequest`. If k items are allowed for a user, k come back. Finished chunks survive a kill in a
    folder beside ``out`` that the same call takes up. Raises `CatalogError` for k < 1, for a name that is not
    Parquet's, and for an unknown item or category.
    """
    out = read_path(out, "out")
    request = RecommendRequest(
        (), k, unseen=unseen, deny=deny, only=only, category=category, system=system or run.recipe.evaluate.head
    )
    if out.suffix != ".parquet":
        raise CatalogError(f"{out}: the recommendations are written as Parquet; give a name that ends in .parquet.")
    recommender_now = run.current_recommender
    recommender_now.build_filters([], request)  # an unknown name is refused before anything is written
    ranker, histories = recommender_now.get_system(request.system), recommender_now.snapshot.histories
    settings = run.recipe.decode.model_copy(update={"num_beams": recommender_now.num_beams_for(request.k)})
    users = np.argsort(-histories.sequence_lengths, kind="stable")
    users = users[histories.sequence_lengths[users] > 0]
    catalog_state = {batch.name: "" for batch in recommender_now.snapshot.batch_folders} | {
        f"-{item}": "" for item in recommender_now.snapshot.withdrawn_items
    }
    stages = (*run.recipe.list_system_stages(request.system), "catalog")
    wanted = compute_fingerprint(
        "everyone of k",
        {
            "decode": settings.model_dump(mode="json"),
            "prior": run.recipe.prior.model_dump(mode="json"),
            **_request_as_json(request),
            "unseen": recommender_now.leaves_out_seen(request),
        },
        {name: run.read_stage_manifest(name).identity_text for name in stages} | catalog_state,
    )
    chunks = out.parent / f".{out.name}.{wanted}"
    refuse_links(chunks)
    chunks.mkdir(parents=True, exist_ok=True)
    with show_progress("recommend", len(users)) as advance:
        for start in range(0, len(users), CHUNK_USERS):
            here, name = users[start : start + CHUNK_USERS], f"{start:09d}"
            if not _is_there(chunks, name):
                write_table(_recommend_chunk(recommender_now, here, request, ranker), chunks / "new")
                (chunks / "new").replace(chunks / f"{name}-{hash_file(chunks / 'new')}.parquet")
            advance(len(here))
    table = pl.concat([read_table(path) for path in sorted(chunks.glob("*.parquet"))])
    order = {name: place for place, name in enumerate(histories.user_ids)}
    ordered = table.sort(table["user_id"].replace_strict(order, return_dtype=pl.Int64), table["rank"])
    metadata = {"system": request.system}
    if writes_sids(request.system):
        metadata |= {"num_beams": str(settings.num_beams), "score_softmax": settings.score_softmax}
    write_table(ordered, out, metadata=metadata)
    shutil.rmtree(chunks)
    return len(users)


def _is_there(chunks: Path, name: str) -> bool:
    """Return whether a chunk is there as it was written, which its name tells; remove one that is not."""
    found = [path for path in chunks.glob(f"{name}-*.parquet") if path.stem != f"{name}-{hash_file(path)}"]
    for path in found:
        path.unlink()
    return any(chunks.glob(f"{name}-*.parquet"))


def _request_as_json(request: RecommendRequest) -> dict[str, Any]:
    """Return a request as JSON has it, the same whatever the order of its items."""
    only = None if request.only is None else sorted(request.only)
    return asdict(request) | {"deny": sorted(request.deny), "only": only}


def _recommend_chunk(
    run_recommender: Recommender, users: Rows, request: RecommendRequest, system: System
) -> pl.DataFrame:
    parts = run_recommender.snapshot
    behind = Targets(users, parts.histories.sequence_lengths[users])
    queries = parts.histories.build_queries(behind)
    allowed = run_recommender.build_filters(queries.items, request)
    table = build_recommendation_table(parts, system.rank(queries, request.k, allowed), behind, request.k)
    return table.select(
        pl.col(name).cast(dtype) for name, dtype in OUTPUT_COLUMNS.items()
    )  # empty ones are of no type yet
