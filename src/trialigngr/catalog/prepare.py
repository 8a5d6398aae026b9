"""The catalogue stage: a data folder becomes a catalogue in a fixed row order and histories with two cuts each.

In this order: columns, ids, pictures, unknown items, rating, time order, repeats, k-core, split.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from trialigngr.catalog.folder import DataFolder, open_folder, read_items, tell_unread
from trialigngr.catalog.histories import Histories
from trialigngr.catalog.interactions import Loaded, Log, first_unknown_items, in_order, load_log, ties, without_repeats
from trialigngr.catalog.items import Catalog, KeptPictures
from trialigngr.catalog.kcore import k_core
from trialigngr.catalog.scanning import place_of
from trialigngr.catalog.split import Cuts, check_testable, global_temporal, leave_last
from trialigngr.foundation.artifact import check_file, file_hash
from trialigngr.foundation.config import Settings
from trialigngr.foundation.console import log as say
from trialigngr.foundation.console import progress
from trialigngr.foundation.errors import ArtifactError, CatalogError
from trialigngr.foundation.files import write_text_atomically
from trialigngr.foundation.tables import read_table, write_table
from trialigngr.images.download import FetchSettings, PictureSettings
from trialigngr.images.ingest import place_pictures, placed_paths
from trialigngr.images.paths import drop_missing_pictures, is_url
from trialigngr.images.pictures import LONG_SIDE


class CatalogSettings(Settings):
    """What of a data folder is used, and how it is split."""

    columns: dict[str, str] = Field(default_factory=dict)
    """Their column names → ours, for both files: ``{asin = "item_id", reviewerID = "user_id"}``."""
    incomplete: Literal["refuse", "drop"] = "refuse"
    """Rows without an id, and interactions without an order (null, NaN, empty): an error, or dropped and counted."""
    unknown_items: Literal["refuse", "drop"] = "refuse"
    """Interactions that name an item the items file does not have: an error, or dropped and counted."""
    min_rating: float | None = None
    """Keep interactions with at least this rating; the rest, and those without a rating, are dropped and counted."""
    repeats: Literal["keep", "first"] = "keep"
    """Of a user's interactions with the same item keep all, or the first in time."""
    k_core: int = Field(default=5, ge=0)
    """Every user and item that stays has at least this many interactions; 0 and 1 keep everybody."""
    items: Literal["in_log", "all"] = "in_log"
    """Which items the catalogue holds: those that the log still names after the k-core, or all of the items file."""
    split: Literal["leave-last", "global-temporal"] = "leave-last"
    """Test on each user's last interactions, or on everything after one moment (needs timestamps)."""
    last: int = Field(default=1, ge=1)
    """leave-last: this many for test and as many before them for validation (fewer for short histories)."""
    valid_share: float = Field(default=0.1, gt=0, lt=0.5)
    """global-temporal: share of all interactions for validation."""
    test_share: float = Field(default=0.1, gt=0, lt=0.5)
    """global-temporal: share of all interactions for test, the latest ones."""
    pictures: PictureSettings = Field(default_factory=PictureSettings)
    """Which pictures are used, and how large."""


@dataclass(frozen=True)
class Dataset:
    """What the catalogue stage made: N items in row order, and U histories that name them by row."""

    catalog: Catalog
    histories: Histories


def prepare(
    settings: CatalogSettings, data: Path, out: Path, fetching: FetchSettings | None = None, *, for_model: bool = False
) -> dict[str, Any]:
    """Write ``items.parquet``, ``pictures.parquet``, ``histories.parquet`` and ``source.json`` into ``out``; return the
    counts.

    Raises `CatalogError` for a folder that cannot be read as it is, or, ``for_model``, that leaves nothing to choose
    and test a model on; the sentence says what to change.
    """
    with progress("Preparing the catalogue", total=4) as advance:
        folder = open_folder(data, settings.columns)
        items, item_facts = _load_items(folder.items, settings)
        advance(note="items")
        loaded = load_log(folder, items["item_id"], settings.min_rating)
        _refuse_or_drop(loaded, folder, items["item_id"], settings)
        tell_unread(folder)
        advance(note="interactions")
        log, dropped = _filtered(loaded, settings, folder)
        advance(note="k-core")
        facts = _write(settings, items, log, data, out)
        if for_model:
            check_testable(settings.split, facts["kept"]["users"], facts["split"])
        advance(note="split")
    facts["loaded"] = {"users": loaded.users, "items": item_facts.pop("rows"), "interactions": loaded.interactions}
    facts["dropped"] = {f"interactions_{reason}": n for reason, n in dropped.items()}
    facts["dropped"]["items_without_id"] = item_facts.pop("without_id")
    facts["dropped"]["items_not_in_log"] = items.height - facts["kept"]["items"]
    facts["pictures_missing"] = item_facts["pictures_missing"]
    facts["pictures"] = _with_pictures(settings, fetching, data, out)
    facts["without"]["image_path"] = load_catalog(out).table["image_path"].null_count()
    _say(facts)
    return facts


def prepare_items(
    settings: CatalogSettings, path: Path, out: Path, fetching: FetchSettings | None = None
) -> dict[str, Any]:
    """Write the items of a file, all of them, as a catalogue that no log goes with; return the counts.

    Raises `CatalogError` as `prepare` does.
    """
    items, facts = _load_items(path, settings)
    write_table(items, out / "items.parquet")
    pictures = _with_pictures(settings, fetching, path.parent, out)
    return {"items": items.height, "pictures_missing": facts["pictures_missing"], "pictures": pictures}


def _with_pictures(settings: CatalogSettings, fetching: FetchSettings | None, root: Path, out: Path) -> dict[str, Any]:
    """Bring the pictures of the written items to where they are opened, and write ``source.json``: where that is."""
    how = fetching or FetchSettings(folder=str(out / "pictures"))
    facts = place_pictures(settings.pictures, how, root, out)
    places = {"root": _root_from(out, root), "pictures": _root_from(out, Path(how.folder))}
    body = json.dumps(places | {"long_side": settings.pictures.long_side}) + "\n"
    write_text_atomically(out / "source.json", body)
    return facts


def load_catalog(folder: Path) -> Catalog:
    """Return the items that `prepare` or `prepare_items` wrote into ``folder``."""
    written = _source(check_file(folder / "source.json"))
    root = Path(os.path.normpath(folder / written["root"]))
    kept = Path(os.path.normpath(folder.absolute() / written.get("pictures", "pictures")))
    items, problems = placed_paths(read_table(check_file(folder / "items.parquet")), folder, kept)
    return Catalog(items, root, KeptPictures(kept, written.get("long_side", LONG_SIDE), problems))


def _source(path: Path) -> dict[str, Any]:
    """Return what ``source.json`` says; raise `ArtifactError` when it says nothing."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise ArtifactError(f"{path} is damaged; delete {path.parent} and run the recipe again.") from None


def _load_items(path: Path, settings: CatalogSettings) -> tuple[pl.DataFrame, dict[str, int]]:
    items = read_items(path, settings.columns)
    if items.is_empty():
        raise CatalogError(f"{path} is empty.")
    rows, without_id = items.height, items["item_id"].null_count()
    if without_id and settings.incomplete == "refuse":
        first = place_of(path, items["item_id"].is_null().arg_max() or 0)
        raise CatalogError(
            f"{path}: {without_id} rows have no item_id, the first in {first}. Drop them with --set "
            "catalog.incomplete=drop."
        )
    items = items.drop_nulls("item_id")
    twice = items["item_id"].filter(items["item_id"].is_duplicated()).unique(maintain_order=True)
    if len(twice):
        raise CatalogError(f"{path}: {len(twice)} item ids occur more than once; first: {twice[:3].to_list()}.")
    items, missing = drop_missing_pictures(items, path.parent)
    return items, {"rows": rows, "without_id": without_id, "pictures_missing": missing}


def _refuse_or_drop(loaded: Loaded, folder: DataFolder, item_ids: pl.Series, settings: CatalogSettings) -> None:
    n = loaded.dropped["incomplete"]
    if n and settings.incomplete == "refuse":
        names = ", ".join(("user_id", "item_id", *loaded.log.order))
        raise CatalogError(
            f"{folder.interactions}: {n} interactions lack one of {names}, the first in "
            f"{place_of(folder.interactions, loaded.first_incomplete)}. Drop them with --set catalog.incomplete=drop."
        )
    n = loaded.dropped["unknown_item"]
    if n and settings.unknown_items == "refuse":
        first = first_unknown_items(folder, item_ids)
        raise CatalogError(
            f"{n} interactions name items that are not in {folder.items}; first: {first}. "
            "Drop them with --set catalog.unknown_items=drop."
        )


def _filtered(loaded: Loaded, settings: CatalogSettings, folder: DataFolder) -> tuple[Log, dict[str, int]]:
    dropped = dict(loaded.dropped)
    log = in_order(loaded.log)
    if settings.repeats == "first":
        once = without_repeats(log)
        dropped["repeated"], log = len(log) - len(once), once
    if not len(log):
        reasons = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in dropped.items() if n)
        raise CatalogError(f"No interaction of {folder.interactions} is left after the filters ({reasons}).")
    core = log.take(k_core(log.users, log.items, settings.k_core))
    dropped["outside_k_core"] = len(log) - len(core)
    if not len(core):
        raise CatalogError(
            f"The {settings.k_core}-core of {folder.interactions} leaves none of its {len(log)} interactions; "
            f"try a smaller one, such as --set catalog.k_core={min(2, settings.k_core - 1)}."
        )
    return core, dropped


def _write(settings: CatalogSettings, items: pl.DataFrame, log: Log, data: Path, out: Path) -> dict[str, Any]:
    named = np.bincount(log.items, minlength=items.height) > 0
    kept = np.ones(items.height, dtype=np.bool_) if settings.items == "all" else named
    users, numbers = np.unique(log.users, return_inverse=True)
    lengths = np.bincount(numbers)
    valid_from, test_from = _cut(settings, log, numbers, lengths, data)
    rows = (np.cumsum(kept) - 1)[log.items]
    table = items.filter(pl.Series(kept))
    out.mkdir(parents=True, exist_ok=True)
    write_table(table, out / "items.parquet")
    sequences = pl.DataFrame({"user": numbers, "items": rows}).group_by("user", maintain_order=True).agg("items")
    histories = sequences.select(
        log.user_ids.gather(users).alias("user_id"),
        "items",
        pl.Series("valid_from", valid_from, pl.Int64),
        pl.Series("test_from", test_from, pl.Int64),
    )
    write_table(histories, out / "histories.parquet")
    return {
        "kept": {"users": len(users), "items": table.height, "interactions": len(log)},
        "without": {
            name: table[name].null_count() for name in ("title", "description", "brand", "categories", "image_path")
        },
        "order": {"by": [*log.order, "row"], **ties(log)},
        "split": _split_facts(lengths, valid_from, test_from),
    }


def _root_from(out: Path, data: Path) -> str:
    """Return where the data folder lies, relative to ``out`` when both are in one run folder: then the run can move."""
    there, here = data.resolve(), out.resolve()
    return os.path.relpath(there, here) if there.is_relative_to(here.parent) else str(there)


def _cut(settings: CatalogSettings, log: Log, numbers: Any, lengths: Any, data: Path) -> Cuts:
    if settings.split == "leave-last":
        return leave_last(lengths, settings.last)
    if "timestamp" not in log.order:
        raise CatalogError(f"The split global-temporal needs a timestamp, and the interactions of {data} have none.")
    return global_temporal(numbers, log.keys[0], len(lengths), settings.valid_share, settings.test_share)


def _split_facts(lengths: Any, valid_from: Any, test_from: Any) -> dict[str, int]:
    return {
        "train": int(valid_from.sum()),
        "valid": int((test_from - valid_from).sum()),
        "test": int((lengths - test_from).sum()),
        "users_not_validated": int((test_from <= np.maximum(valid_from, 1)).sum()),
        "users_not_tested": int((lengths <= np.maximum(test_from, 1)).sum()),
    }


def _say(facts: dict[str, Any]) -> None:
    kept, without = facts["kept"], facts["without"]
    say(f"catalog: {kept['users']:,} users, {kept['items']:,} items, {kept['interactions']:,} interactions")
    for what, n in facts["dropped"].items():
        if n:
            say(f"catalog: dropped {n:,} {what.replace('k_core', 'the_k-core').replace('_', ' ')}")
    if facts["pictures_missing"]:
        say(
            f"catalog: {facts['pictures_missing']:,} items name a picture file that is not there; they stay, without it"
        )
    if any(without.values()):
        counts = ", ".join(f"{name.replace('image_path', 'picture')} {n:,}" for name, n in without.items() if n)
        say(f"catalog: items without {counts}")
    if n := facts["split"]["users_not_tested"]:
        say(f"catalog: {n:,} users are not tested: too short a history, or nothing after the cut")


def load_dataset(folder: Path) -> Dataset:
    """Return what `prepare` wrote into ``folder``."""
    table = read_table(check_file(folder / "histories.parquet"))
    offsets = np.concatenate([[0], np.cumsum(table["items"].list.len().to_numpy(), dtype=np.int64)])
    items, valid_from, test_from = (
        column.to_numpy() for column in (table["items"].explode(), table["valid_from"], table["test_from"])
    )
    histories = Histories(table["user_id"].to_list(), offsets, items, valid_from, test_from)
    return Dataset(load_catalog(folder), histories)


def data_fingerprint(data: Path, columns: Mapping[str, str] | None = None) -> str:
    """Return 16 hex digits that change with the folder's place, its two tables, or any picture that the items name.

    Tables go in with their content. Pictures go in with name, size and time of last change: a million of them are too
    much to read again before every run, so a copy that keeps the times counts as the same.
    """
    folder = open_folder(data, columns)
    log = file_hash(folder.interactions)
    return sha256(f"{data.resolve()}\n{log}\n{items_fingerprint(folder.items, columns)}".encode()).hexdigest()[:16]


def items_fingerprint(path: Path, columns: Mapping[str, str] | None = None) -> str:
    """Return 16 hex digits that change with an items file and with any picture that it names."""
    digest = sha256(f"{file_hash(path)}\n".encode())
    for relative in read_items(path, columns or {})["image_path"].drop_nulls().unique(maintain_order=True):
        if is_url(relative):
            continue  # it stands in the items file, and what lies there counts as fetched
        try:
            state = (path.parent / relative).stat()
        except (OSError, ValueError):
            digest.update(f"{relative}\0missing\n".encode())
        else:
            digest.update(f"{relative}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
