"""The catalogue stage: a data folder becomes a catalogue in a fixed row order and histories with two cuts each.

In this order: columns, ids, pictures, unknown items, rating, time order, repeats, items without a picture, k-core,
split.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trialigngr.catalog.data_folder import DataFolder, open_data_folder, read_items, tell_unread
from trialigngr.catalog.dataset import load_catalog, load_dataset
from trialigngr.catalog.interactions import (
    InteractionLog,
    LoadedInteractions,
    count_ties,
    drop_repeats,
    find_unknown_items,
    load_interactions,
    sort_log,
)
from trialigngr.catalog.item_attributes import build_item_attributes
from trialigngr.catalog.kcore import find_k_core
from trialigngr.catalog.pictured import find_named_images, find_usable_images
from trialigngr.catalog.scanning import place_of
from trialigngr.catalog.settings import CatalogSettings
from trialigngr.catalog.split import SplitPoints, check_testable, split_global_temporal, split_leave_last
from trialigngr.foundation.console import log as say
from trialigngr.foundation.console import show_progress
from trialigngr.foundation.errors import CatalogError
from trialigngr.foundation.files import write_text_atomically
from trialigngr.foundation.tables import write_table
from trialigngr.images.ingest import ingest_images
from trialigngr.images.paths import drop_missing_images
from trialigngr.images.settings import DownloadSettings


def prepare_catalog(
    settings: CatalogSettings,
    data: Path,
    out: Path,
    download: DownloadSettings | None = None,
    *,
    for_model: bool = False,
) -> dict[str, Any]:
    """Write ``items.parquet``, ``images.parquet``, ``histories.parquet`` and ``source.json`` into ``out``; return the
    counts.

    Raises `CatalogError` for a folder that cannot be read as it is, or, ``for_model``, that leaves nothing to choose
    and test a model on; the sentence says what to change.
    """
    with show_progress("Preparing the catalogue", total=4) as advance:
        folder = open_data_folder(data, settings.column_map)
        items, item_facts = _load_items(folder.items_path, settings)
        advance(note="items")
        loaded = load_interactions(folder, items["item_id"], settings.min_rating)
        _check_interactions(loaded, folder, items["item_id"], settings)
        tell_unread(folder)
        advance(note="interactions")
        log, dropped = _filter_interactions(loaded, settings, folder)
        without_image = 0
        if settings.item_scope == "pictured":
            pictured = _keep_pictured(settings, download, items, log, data, out)
            dropped["without_image"] = len(log) - len(pictured)
            without_image = len(np.setdiff1d(log.items, pictured.items))
            log = pictured
        log = _take_core(log, settings, folder, dropped)
        advance(note="k-core")
        facts = _write_tables(settings, items, log, data, out)
        if for_model:
            check_testable(settings.split, facts["kept"]["users"], facts["split"])
        advance(note="split")
    facts["loaded"] = {
        "users": loaded.num_users,
        "items": item_facts.pop("rows"),
        "interactions": loaded.num_interactions,
    }
    facts["dropped"] = {f"interactions_{reason}": n for reason, n in dropped.items()}
    facts["dropped"]["items_without_id"] = item_facts.pop("without_id")
    facts["dropped"]["items_without_image"] = without_image
    facts["dropped"]["items_not_in_log"] = items.height - facts["kept"]["items"] - without_image
    facts["missing_images"] = item_facts["missing_images"]
    facts["images"] = _ingest_and_record_images(settings, download, data, out)
    written = load_dataset(out)
    facts["without"]["image_path"] = written.catalog.table["image_path"].null_count()
    facts["repeats"] = dict(zip(("train_targets", "repeated"), written.histories.count_train_repeats(), strict=True))
    _log_facts(facts)
    return facts


def prepare_items(
    settings: CatalogSettings, path: Path, out: Path, download: DownloadSettings | None = None
) -> dict[str, Any]:
    """Write the items of a file, all of them, as a catalogue that no log goes with; return the counts.

    Raises `CatalogError` as `prepare` does.
    """
    items, facts = _load_items(path, settings)
    write_table(items, out / "items.parquet")
    pictures = _ingest_and_record_images(settings, download, path.parent, out)
    return {"items": items.height, "missing_images": facts["missing_images"], "images": pictures}


def _ingest_and_record_images(
    settings: CatalogSettings, download: DownloadSettings | None, root: Path, out: Path
) -> dict[str, Any]:
    """Bring the pictures of the written items to where they are opened, and write ``source.json``: where that is."""
    how = download or DownloadSettings(store_folder=str(out / "images"))
    facts = ingest_images(settings.images, how, root, out)
    places = {"root": _relative_root(out, root), "images": _relative_root(out, Path(how.store_folder))}
    body = json.dumps(places | {"longest_edge": settings.images.longest_edge}) + "\n"
    write_text_atomically(out / "source.json", body)
    return facts


def _load_items(path: Path, settings: CatalogSettings) -> tuple[pl.DataFrame, dict[str, int]]:
    items = read_items(path, settings.column_map)
    if items.is_empty():
        raise CatalogError(f"{path} is empty.")
    rows, without_id = items.height, items["item_id"].null_count()
    if without_id and settings.incomplete_rows == "error":
        first = place_of(path, items["item_id"].is_null().arg_max() or 0)
        raise CatalogError(
            f"{path}: {without_id} rows have no item_id, the first in {first}. Drop them with --set "
            "catalog.incomplete_rows=drop."
        )
    items = items.drop_nulls("item_id")
    twice = items["item_id"].filter(items["item_id"].is_duplicated()).unique(maintain_order=True)
    if len(twice):
        raise CatalogError(f"{path}: {len(twice)} item ids occur more than once; first: {twice[:3].to_list()}.")
    items, missing = drop_missing_images(items, path.parent)
    return items, {"rows": rows, "without_id": without_id, "missing_images": missing}


def _check_interactions(
    loaded: LoadedInteractions, folder: DataFolder, item_ids: pl.Series, settings: CatalogSettings
) -> None:
    n = loaded.dropped["incomplete"]
    if n and settings.incomplete_rows == "error":
        names = ", ".join(("user_id", "item_id", *loaded.log.order_columns))
        raise CatalogError(
            f"{folder.interactions_path}: {n} interactions lack one of {names}, the first in "
            f"{place_of(folder.interactions_path, loaded.first_incomplete)}. Drop them with --set "
            "catalog.incomplete_rows=drop."
        )
    n = loaded.dropped["unknown_item"]
    if n and settings.unknown_items == "error":
        first = find_unknown_items(folder, item_ids)
        raise CatalogError(
            f"{n} interactions name items that are not in {folder.items_path}; first: {first}. "
            "Drop them with --set catalog.unknown_items=drop."
        )


def _filter_interactions(
    loaded: LoadedInteractions, settings: CatalogSettings, folder: DataFolder
) -> tuple[InteractionLog, dict[str, int]]:
    dropped = dict(loaded.dropped)
    log = sort_log(loaded.log)
    if settings.duplicates == "keep_first":
        once = drop_repeats(log)
        dropped["repeated"], log = len(log) - len(once), once
    return log, dropped


def _keep_pictured(
    settings: CatalogSettings,
    download: DownloadSettings | None,
    items: pl.DataFrame,
    log: InteractionLog,
    data: Path,
    out: Path,
) -> InteractionLog:
    """Return the interactions with items that have a picture; writes into ``out`` what will be written again.

    What the k-core leaves where every named picture counts holds all that it will leave: no other picture is fetched.
    """
    log = log.take_rows(find_named_images(items)[log.items])
    asked = np.unique(log.items[find_k_core(log.users, log.items, settings.k_core)])
    if not len(asked):
        return log
    out.mkdir(parents=True, exist_ok=True)
    write_table(items[asked], out / "items.parquet")
    _ingest_and_record_images(settings, download, data, out)
    unusable = asked[~find_usable_images(load_catalog(out))]
    return log.take_rows(~np.isin(log.items, unusable))


def _take_core(
    log: InteractionLog, settings: CatalogSettings, folder: DataFolder, dropped: dict[str, int]
) -> InteractionLog:
    """Return the k-core; what is outside is counted under ``dropped``. Raises `CatalogError` when nothing is left."""
    if not len(log):
        reasons = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in dropped.items() if n)
        raise CatalogError(f"No interaction of {folder.interactions_path} is left after the filters ({reasons}).")
    core = log.take_rows(find_k_core(log.users, log.items, settings.k_core))
    dropped["outside_k_core"] = len(log) - len(core)
    if not len(core):
        raise CatalogError(
            f"The {settings.k_core}-core of {folder.interactions_path} leaves none of its {len(log)} interactions; "
            f"try a smaller one, such as --set catalog.k_core={min(2, settings.k_core - 1)}."
        )
    return core


def _write_tables(
    settings: CatalogSettings, items: pl.DataFrame, log: InteractionLog, data: Path, out: Path
) -> dict[str, Any]:
    named = np.bincount(log.items, minlength=items.height) > 0
    kept = np.ones(items.height, dtype=np.bool_) if settings.item_scope == "all" else named
    users, numbers = np.unique(log.users, return_inverse=True)
    lengths = np.bincount(numbers)
    valid_from, test_from = _split_histories(settings, log, numbers, lengths, data)
    rows = (np.cumsum(kept) - 1)[log.items]
    table = items.filter(pl.Series(kept))
    out.mkdir(parents=True, exist_ok=True)
    write_table(table, out / "items.parquet")
    build_item_attributes(table).save(out)
    columns = {"items": rows} if (times := log.to_seconds()) is None else {"items": rows, "times": times}
    sequences = pl.DataFrame({"user": numbers, **columns}).group_by("user", maintain_order=True).agg(*columns)
    histories = sequences.select(
        log.user_ids.gather(users).alias("user_id"),
        *columns,
        pl.Series("valid_from", valid_from, pl.Int64),
        pl.Series("test_from", test_from, pl.Int64),
    )
    write_table(histories, out / "histories.parquet")
    return {
        "kept": {"users": len(users), "items": table.height, "interactions": len(log)},
        "without": {
            name: table[name].null_count() for name in ("title", "description", "brand", "categories", "image_path")
        },
        "order": {"by": [*log.order_columns, "row"], **count_ties(log)},
        "split": _count_split(lengths, valid_from, test_from),
    }


def _relative_root(out: Path, data: Path) -> str:
    """Return where the data folder lies, relative to ``out`` when both are in one run folder: then the run can move."""
    there, here = data.resolve(), out.resolve()
    return os.path.relpath(there, here) if there.is_relative_to(here.parent) else str(there)


def _split_histories(
    settings: CatalogSettings, log: InteractionLog, numbers: Any, lengths: Any, data: Path
) -> SplitPoints:
    if settings.split == "leave-last":
        return split_leave_last(lengths, settings.leave_last_n)
    if "timestamp" not in log.order_columns:
        raise CatalogError(f"The split global-temporal needs a timestamp, and the interactions of {data} have none.")
    return split_global_temporal(numbers, log.sort_keys[0], len(lengths), settings.valid_ratio, settings.test_ratio)


def _count_split(lengths: Any, valid_from: Any, test_from: Any) -> dict[str, int]:
    return {
        "train": int(valid_from.sum()),
        "valid": int((test_from - valid_from).sum()),
        "test": int((lengths - test_from).sum()),
        "users_not_validated": int((test_from <= np.maximum(valid_from, 1)).sum()),
        "users_not_tested": int((lengths <= np.maximum(test_from, 1)).sum()),
    }


def _log_facts(facts: dict[str, Any]) -> None:
    kept, without = facts["kept"], facts["without"]
    say(f"catalog: {kept['users']:,} users, {kept['items']:,} items, {kept['interactions']:,} interactions")
    for what, n in facts["dropped"].items():
        if n:
            say(f"catalog: dropped {n:,} {what.replace('k_core', 'the_k-core').replace('_', ' ')}")
    if facts["missing_images"]:
        say(f"catalog: {facts['missing_images']:,} items name a picture file that is not there: they have none")
    if any(without.values()):
        counts = ", ".join(f"{name.replace('image_path', 'picture')} {n:,}" for name, n in without.items() if n)
        say(f"catalog: items without {counts}")
    repeats = facts["repeats"]
    say(f"catalog: {repeats['repeated']:,} of {repeats['train_targets']:,} training targets repeat an earlier item")
    if n := facts["split"]["users_not_tested"]:
        say(f"catalog: {n:,} users are not tested: too short a history, or nothing after the cut")
