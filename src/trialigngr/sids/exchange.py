"""SIDs in the formats of other systems, in and out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trialigngr.foundation.strict_json import parse_json
from trialigngr.foundation.tables import read_told, write_table
from trialigngr.sids.errors import SidError
from trialigngr.sids.semantic_ids import END, SemanticIds, parse_sid

FLASHREC_ITEM = "pid"


def export_sids(sids: SemanticIds, name: str, path: Path) -> None:
    """Write the SIDs to ``path`` in one of `FORMATS`; raise `SidError` if the format cannot hold them."""
    writers: dict[str, Callable[[SemanticIds, Path], None]] = {
        "lcrec": write_lcrec,
        "grid": write_grid,
        "flashrec": write_flashrec,
        "parquet": write_parquet,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    writers[_known(name)](sids, path)


def import_sids(name: str, path: Path) -> SemanticIds:
    """Read SIDs from ``path`` in one of `FORMATS`; raise `SidError` if the file is something else.

    Codebook sizes are the largest code + 1 where the format does not tell.
    """
    readers: dict[str, Callable[[Path], SemanticIds]] = {
        "lcrec": read_lcrec,
        "grid": read_grid,
        "flashrec": read_flashrec,
        "parquet": read_parquet,
    }
    if not path.is_file():
        raise SidError(f"There is no file {path}.")
    return readers[_known(name)](path)


FORMATS = {
    "lcrec": "index.json of LC-Rec, LETTER, MiniOneRec, MACRec: item → list of tokens",
    "grid": "GRID's tensor [levels, items] (.pt)",
    "flashrec": 'FlashRec\'s catalogue JSON: "a,b,c" → list of items',
    "parquet": "item_id and sid as text; any column of SIDs as text can be read",
}


def _known(name: str) -> str:
    if name not in FORMATS:
        raise SidError(f"There is no format {name!r}; known are {', '.join(FORMATS)}.")
    return name


def write_lcrec(sids: SemanticIds, path: Path) -> None:
    """Write ``{"item": ["<a_1>", "<b_2>", …], …}`` in the order of the items."""
    body = {item_id: sids.tokens(row) for row, item_id in enumerate(sids.item_ids)}
    path.write_text(json.dumps(body, ensure_ascii=False), encoding="utf-8")


def read_lcrec(path: Path) -> SemanticIds:
    """Read ``index.json``; upper-case tokens (MACRec's pictures) are read as lower-case ones."""
    body = _json_object(path)
    try:
        codes = [parse_sid("".join(tokens).lower()) for tokens in body.values()]
    except (TypeError, ValueError) as error:
        raise SidError(f"{path} is no index.json: {error}") from None
    return from_codes(list(body), codes)


def write_grid(sids: SemanticIds, path: Path) -> None:
    """Write a tensor [levels, items], int64, as ``torch.save`` does; items are known by their place alone."""
    import torch

    if (sids.codes_NL == END).any():
        raise SidError("GRID's tensor cannot hold SIDs of unequal length.")
    torch.save(torch.from_numpy(sids.codes_NL.T.astype(np.int64)).contiguous(), path)


def read_grid(path: Path) -> SemanticIds:
    """Read a tensor [levels, items]; nothing but tensors is unpickled. Items are called "0", "1", …."""
    import pickle

    import torch

    try:
        tensor = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise SidError(f"{path} holds no tensor that can be read safely: {str(error).splitlines()[0]}") from None
    if not isinstance(tensor, torch.Tensor) or tensor.ndim != 2 or tensor.is_floating_point():
        raise SidError(f"{path} holds no table of whole numbers [levels, items].")
    return from_codes([str(row) for row in range(tensor.shape[1])], tensor.T.tolist())


def write_flashrec(sids: SemanticIds, path: Path) -> None:
    """Write ``{"a,b,c": [{"pid": item}, …], …}``; items that share a SID stand under it together."""
    body = {
        ",".join(map(str, codes)): [{FLASHREC_ITEM: sids.item_ids[row]} for row in rows]
        for codes, rows in sids.rows_of.items()
    }
    path.write_text(json.dumps(body, ensure_ascii=False), encoding="utf-8")


def read_flashrec(path: Path) -> SemanticIds:
    """Read FlashRec's catalogue. Where it names no items (``"a,b,c": 1``) an item is called by its SID."""
    ids: list[str] = []
    codes: list[tuple[int, ...]] = []
    for key, items in _json_object(path).items():
        try:
            sid = tuple(int(part) for part in key.split(","))
            names = [_item_name(item[FLASHREC_ITEM]) for item in items] if isinstance(items, list) else [key]
        except (ValueError, TypeError, KeyError) as error:
            raise SidError(f"{path} is no FlashRec catalogue: {key!r} ({error!r}).") from None
        ids += names
        codes += [sid] * len(names)
    return from_codes(ids, codes)


def _item_name(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"{FLASHREC_ITEM} is {value!r}, and an id is needed")
    return str(value)


def write_parquet(sids: SemanticIds, path: Path) -> None:
    """Write ``item_id`` and ``sid`` (``<a_1><b_2><c_3>``)."""
    texts = [sids.text(row) for row in range(len(sids))]
    table = pl.DataFrame({"item_id": sids.item_ids, "sid": texts}, schema={"item_id": pl.String, "sid": pl.String})
    write_table(table, path, metadata={"sizes": " ".join(map(str, sids.sizes))})


def read_parquet(path: Path, column: str | None = None) -> SemanticIds:
    """Read SIDs as text from ``column``, or from the only column that is ``sid`` or ends in ``_sid``."""
    table = pl.read_parquet(path.absolute(), glob=False)
    found = [column] if column else [name for name in table.columns if name == "sid" or name.endswith("_sid")]
    if len(found) != 1 or found[0] not in table.columns or "item_id" not in table.columns:
        raise SidError(f"{path} needs item_id and one column of SIDs as text; it has {', '.join(table.columns)}.")
    rows = table.select("item_id", found[0]).drop_nulls()
    try:
        codes = [parse_sid(text) for text in rows[found[0]].cast(pl.String).to_list()]
    except ValueError as error:
        raise SidError(f"{path}: {error}") from None
    sizes = read_told(path).get("sizes")
    return from_codes(rows["item_id"].cast(pl.String).to_list(), codes, sizes and tuple(map(int, sizes.split())))


def from_codes(
    item_ids: list[str], codes: Sequence[Sequence[int]], sizes: tuple[int, ...] | str | None = None
) -> SemanticIds:
    """Return SIDs of possibly unequal length; ``sizes`` default to the largest code + 1 of each level.

    Raises `SidError` where there are none, or for an item that stands twice.
    """
    if not codes:
        raise SidError("There are no SIDs to read.")
    if twice := [item_id for item_id, times in Counter(item_ids).items() if times > 1]:
        raise SidError(f"{len(twice)} item ids occur more than once; first: {twice[:3]}. Leave one SID for each.")
    codes_NL: npt.NDArray[np.int32] = np.full((len(codes), max(map(len, codes))), END, dtype=np.int32)
    for row, sid in enumerate(codes):
        codes_NL[row, : len(sid)] = sid
    return SemanticIds(
        item_ids, codes_NL, tuple((codes_NL.max(0) + 1).tolist()) if not sizes else tuple(map(int, sizes))
    )


def _json_object(path: Path) -> dict[str, Any]:
    try:
        body = parse_json(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise SidError(f"{path} cannot be read as JSON: {error}.") from None
    except RecursionError:
        raise SidError(f"{path} cannot be read as JSON: it is nested too deeply.") from None
    if not isinstance(body, dict):
        raise SidError(f"{path} must hold one JSON object, not a {type(body).__name__}.")
    return body
