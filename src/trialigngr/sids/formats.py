"""SIDs in the formats of other systems, in and out."""

from __future__ import annotations

import json
import pickle
import re
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trialigngr.foundation.console import log
from trialigngr.foundation.errors import TriAlignError
from trialigngr.foundation.strict_json import parse_json
from trialigngr.foundation.tables import read_told, write_table
from trialigngr.sids.errors import SidError
from trialigngr.sids.semantic_ids import END_CODE, LARGEST, SemanticIds, parse_sid, read_sizes
from trialigngr.sids.tables import read_ids, read_parquet_table

FLASHREC_ITEM = "pid"
_KEY = re.compile(r"\s*\d{1,18}\s*(,\s*\d{1,18}\s*)*", re.ASCII)


def export_sids(sids: SemanticIds, name: str, path: Path) -> None:
    """Write the SIDs to ``path`` in one of `COMPARISON_FORMATS`; raise `SidError` if the format cannot hold them."""
    writers: dict[str, Callable[[SemanticIds, Path], None]] = {
        "lcrec": write_lcrec,
        "grid": write_grid,
        "flashrec": write_flashrec,
        "parquet": write_parquet,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    writers[_check_format(name)](sids, path)


def import_sids(name: str, path: Path) -> SemanticIds:
    """Read SIDs from ``path`` in one of `COMPARISON_FORMATS`; raise `SidError` if the file is something else.

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
    return readers[_check_format(name)](path)


FORMATS = {
    "lcrec": "index.json of LC-Rec, LETTER, MiniOneRec, MACRec: item → list of tokens",
    "grid": "GRID's tensor [levels, items] (.pt)",
    "flashrec": 'FlashRec\'s catalogue JSON: "a,b,c" → list of items',
    "parquet": "item_id and sid as text; any column of SIDs as text can be read",
}


def _check_format(name: str) -> str:
    if name not in FORMATS:
        raise SidError(f"There is no format {name!r}; known are {', '.join(FORMATS)}.")
    return name


def write_lcrec(sids: SemanticIds, path: Path) -> None:
    """Write ``{"item": ["<a_1>", "<b_2>", …], …}`` in the order of the items."""
    body = {item_id: sids.item_tokens(row) for row, item_id in enumerate(sids.item_ids)}
    path.write_text(json.dumps(body, ensure_ascii=False), encoding="utf-8")


def read_lcrec(path: Path) -> SemanticIds:
    """Read ``index.json``; upper-case tokens (MACRec's pictures) are read as lower-case ones."""
    body = _read_json_object(path)
    codes = [_parse_tokens(path, item_id, tokens) for item_id, tokens in body.items()]
    return _sids_of(path, list(body), codes)


def _parse_tokens(path: Path, item_id: str, tokens: Any) -> tuple[int, ...]:
    listed = [tokens] if isinstance(tokens, str) else tokens
    if not isinstance(listed, list) or not all(isinstance(token, str) for token in listed):
        raise SidError(
            f"{path} is no index.json: item {item_id!r} has {_shorten(tokens)}; "
            'it needs a list such as ["<a_1>", "<b_2>"].'
        )
    try:
        return parse_sid("".join(listed).lower())
    except ValueError as error:
        raise SidError(f"{path} is no index.json: item {item_id!r}: {error}") from None


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def write_grid(sids: SemanticIds, path: Path) -> None:
    """Write a tensor [levels, items], int64, as ``torch.save`` does; items are known by their place alone."""
    import torch

    if (sids.codes_NL == END_CODE).any():
        raise SidError("GRID's tensor cannot hold SIDs of unequal length.")
    torch.save(torch.from_numpy(sids.codes_NL.T.astype(np.int64)).contiguous(), path)


def read_grid(path: Path) -> SemanticIds:
    """Read a tensor [levels, items]; nothing but tensors is unpickled. Items are called "0", "1", …."""
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # of what is refused just below
            tensor = torch.load(path, weights_only=True, map_location="cpu")
    except _NO_TENSOR:
        raise SidError(
            f"{path} holds no tensor that can be read safely; write the table alone with torch.save(tensor, path)."
        ) from None
    whole = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    plain = isinstance(tensor, torch.Tensor) and not tensor.is_nested and tensor.layout == torch.strided
    if not plain or tensor.device.type != "cpu" or tensor.dtype not in whole or tensor.ndim != 2:
        raise SidError(f"{path} holds no table of whole numbers [levels, items].")
    return _sids_of(path, [str(row) for row in range(tensor.shape[1])], tensor.T.tolist())


_NO_TENSOR = (
    *(pickle.UnpicklingError, struct.error, RuntimeError, EOFError, LookupError, ValueError, TypeError),
    *(AttributeError, AssertionError, OverflowError, OSError),
)
"""What torch raises on a file that is something else."""


def write_flashrec(sids: SemanticIds, path: Path) -> None:
    """Write ``{"a,b,c": [{"pid": item}, …], …}``; items that share a SID stand under it together."""
    body = {
        ",".join(map(str, codes)): [{FLASHREC_ITEM: sids.item_ids[row]} for row in rows]
        for codes, rows in sids.rows_by_codes.items()
    }
    path.write_text(json.dumps(body, ensure_ascii=False), encoding="utf-8")


def read_flashrec(path: Path) -> SemanticIds:
    """Read FlashRec's catalogue. Where it names no items (``"a,b,c": 1``) an item is called by its SID."""
    ids: list[str] = []
    codes: list[tuple[int, ...]] = []
    for key, items in _read_json_object(path).items():
        if not _KEY.fullmatch(key) or not (isinstance(items, list) or type(items) is int):
            raise SidError(
                f"{path} is no FlashRec catalogue: {_shorten(key)} has {_shorten(items)}; "
                '"a,b,c" → list of items is needed.'
            )
        try:
            sid = tuple(int(part) for part in key.split(","))
            names = [_item_name(item[FLASHREC_ITEM]) for item in items] if isinstance(items, list) else [key]
        except (ValueError, TypeError, KeyError) as error:
            raise SidError(f"{path} is no FlashRec catalogue: {key!r} ({error!r}).") from None
        ids += names
        codes += [sid] * len(names)
    return _sids_of(path, ids, codes)


def _item_name(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"{FLASHREC_ITEM} is {value!r}, and an id is needed")
    return str(value)


def write_parquet(sids: SemanticIds, path: Path) -> None:
    """Write ``item_id`` and ``sid`` (``<a_1><b_2><c_3>``)."""
    texts = [sids.sid_text(row) for row in range(len(sids))]
    table = pl.DataFrame({"item_id": sids.item_ids, "sid": texts}, schema={"item_id": pl.String, "sid": pl.String})
    write_table(table, path, metadata={"sizes": " ".join(map(str, sids.codebook_sizes))})


def read_parquet(path: Path, column: str | None = None) -> SemanticIds:
    """Read SIDs as text from ``column``, or from the only column that is ``sid`` or ends in ``_sid``."""
    table = read_parquet_table(path)
    name = _sid_column(path, table.columns, column)
    if table.schema[name] not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise SidError(
            f"{path}: column {name!r} holds {table.schema[name]}; SIDs as text are needed, such as <a_195><b_112><c_7>."
        )
    ids, texts = read_ids(path, table), table[name].cast(pl.String).to_list()
    named = [(item_id, text) for item_id, text in zip(ids, texts, strict=True) if text is not None]
    if len(named) < len(ids):
        log(f"{path}: {len(ids) - len(named)} of {len(ids)} items have no SID and are left out")
    codes = [_parse_text(path, item_id, text) for item_id, text in named]
    return _sids_of(path, [item_id for item_id, _ in named], codes, _codebook_sizes(path))


def _sid_column(path: Path, columns: Sequence[str], column: str | None) -> str:
    found = [column] if column else [name for name in columns if name == "sid" or name.endswith("_sid")]
    if len(found) != 1 or found[0] not in columns or "item_id" not in columns:
        more = "; name one with --column" if len(found) > 1 else ""
        raise SidError(
            f"{path} needs item_id and one column of SIDs as text; it has {', '.join(columns) or 'no column'}{more}."
        )
    return found[0]


def _parse_text(path: Path, item_id: str, text: str) -> tuple[int, ...]:
    try:
        return parse_sid(text)
    except ValueError as error:
        raise SidError(f"{path}: item {item_id!r}: {error}") from None


def _codebook_sizes(path: Path) -> tuple[int, ...] | None:
    sizes_text = read_told(path).get("sizes")
    try:
        return read_sizes(sizes_text) if sizes_text else None
    except ValueError:
        raise SidError(
            f"{path}: the codebooks' sizes in its metadata are {_shorten(sizes_text)}; drop them there."
        ) from None


def _sids_of(
    path: Path, item_ids: list[str], codes: Sequence[Sequence[int]], sizes: tuple[int, ...] | None = None
) -> SemanticIds:
    try:
        return build_sids(item_ids, codes, sizes)
    except TriAlignError as error:
        raise SidError(f"{path}: {error}") from None


def build_sids(
    item_ids: list[str], codes: Sequence[Sequence[int]], sizes: tuple[int, ...] | None = None
) -> SemanticIds:
    """Return SIDs of possibly unequal length; ``sizes`` default to the largest code + 1 of each level.

    Raises `SidError` where there are none, or for an item that stands twice.
    """
    if not codes:
        raise SidError("There are no SIDs to read.")
    if twice := [item_id for item_id, times in Counter(item_ids).items() if times > 1]:
        raise SidError(f"{len(twice)} item ids occur more than once; first: {twice[:3]}. Leave one SID for each.")
    for item_id, sid in zip(item_ids, codes, strict=True):
        _check_codes(item_id, sid)
    codes_NL: npt.NDArray[np.int32] = np.full((len(codes), max(map(len, codes))), END_CODE, dtype=np.int32)
    for row, sid in enumerate(codes):
        codes_NL[row, : len(sid)] = sid
    return SemanticIds(item_ids, codes_NL, sizes or tuple((codes_NL.max(0) + 1).tolist()))


def _check_codes(item_id: str, sid: Sequence[int]) -> None:
    if not 0 < len(sid) <= len(ascii_lowercase):
        raise SidError(f"item {item_id!r} has {len(sid)} codes; a SID has 1 to {len(ascii_lowercase)}.")
    if min(sid) < 0 or max(sid) >= LARGEST:
        wrong = next(code for code in sid if not 0 <= code < LARGEST)
        raise SidError(f"item {item_id!r} has the code {wrong}; codes are whole numbers from 0 to {LARGEST - 1:,}.")


def _read_json_object(path: Path) -> dict[str, Any]:
    try:
        body = parse_json(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise SidError(f"{path} cannot be read as JSON: {error}.") from None
    except RecursionError:
        raise SidError(f"{path} cannot be read as JSON: it is nested too deeply.") from None
    if not isinstance(body, dict):
        raise SidError(f"{path} must hold one JSON object, not a {type(body).__name__}.")
    return body
