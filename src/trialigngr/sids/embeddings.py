"""Embeddings as users have them: safetensors, npy, Parquet."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError

import numpy as np
import polars as pl

from trialigngr.foundation.artifact import check_file
from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.codebooks import Float32Array
from trialigngr.sids.quantizers.quantizer import check_vectors
from trialigngr.sids.tables import read_ids, read_parquet_table

ITEM_ID_COLUMN = "item_id"
OTHERS = {b"PK\x03\x04": "it is an archive (.npz); save its one array with numpy.save", b"\x93NUMPY": ""}
"""How files begin that end in .npy → what is wrong with them."""


def read_embeddings(path: Path) -> tuple[list[str], Float32Array]:
    """Return item ids and vectors float32 [N, D]; where the file names no items they are called "0", "1", ….

    ``.npy``: an array [N, D], memory-mapped. ``.safetensors``: the tensor ``embeddings``, or the only one; ids from
    ``texts.parquet`` beside it, as a run has them. ``.parquet``: ``item_id`` and one list column, or numeric columns.
    Raises `SidError` if the file is none of these, or holds vectors that no quantizer takes (`check_vectors`).
    """
    readers = {".npy": _read_npy, ".safetensors": _read_safetensors, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise SidError(f"{path}: embeddings are read from {', '.join(readers)}.")
    if not path.is_file():
        raise SidError(f"There is no file {path}.")
    named, vectors_ND = readers[path.suffix](path)
    if vectors_ND.ndim != 2:
        raise SidError(f"{path} holds an array of shape {vectors_ND.shape}; embeddings are a table, one row an item.")
    ids = [str(row) for row in range(len(vectors_ND))] if named is None else named
    if len(ids) != len(vectors_ND):
        raise SidError(f"{path}: {len(ids)} item ids stand beside {len(vectors_ND)} embeddings.")
    if len(set(ids)) != len(ids):
        raise SidError(f"{path} names an item twice: {next(name for name in ids if ids.count(name) > 1)!r}.")
    try:
        return ids, check_vectors(vectors_ND, lambda row: f"item {ids[row]!r}")
    except SidError as error:
        raise SidError(f"{path}: {error}") from None


def _read_npy(path: Path) -> tuple[None, Float32Array]:
    with path.open("rb") as file:
        start = file.read(6)
    wrong = next((wrong for magic, wrong in OTHERS.items() if start.startswith(magic)), "it does not begin as one")
    if wrong:
        raise SidError(f"{path} cannot be read as a numpy array: {wrong}.")
    try:
        return None, np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, TokenError, SyntaxError, OverflowError, MemoryError) as error:
        if "Python objects" in str(error):
            raise SidError(
                f"{path} holds Python objects, which are never read: they could run code. Save numbers, such as "
                "array.astype('float32')."
            ) from None
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise SidError(f"{path} cannot be read as a numpy array: {reason}.") from None


def _read_safetensors(path: Path) -> tuple[list[str] | None, Float32Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise SidError(f"{path} cannot be read as safetensors: {str(error).rstrip('.')}.") from None
    except (TypeError, AttributeError, KeyError) as error:  # types that NumPy does not have
        raise SidError(f"{path} holds another type ({error}); save the tensor as float32 or float16.") from None
    if "embeddings" not in tensors and len(tensors) != 1:
        held = ", ".join(sorted(tensors)) or "no tensor"
        raise SidError(f"{path} holds {held}; name the table of embeddings 'embeddings'.")
    beside = path.with_name("texts.parquet")
    ids = read_ids(beside, read_parquet_table(check_file(beside))) if beside.is_file() else None
    return ids, tensors.get("embeddings", next(iter(tensors.values())))


def _read_parquet(path: Path) -> tuple[list[str] | None, Float32Array]:
    table = read_parquet_table(path)
    ids = read_ids(path, table) if ITEM_ID_COLUMN in table.columns else None
    lists = [
        name for name, kind in table.schema.items() if isinstance(kind, pl.List | pl.Array) and name != ITEM_ID_COLUMN
    ]
    if len(lists) > 1:
        raise SidError(f"{path} has several columns of lists ({', '.join(lists)}); keep the one with the embeddings.")
    if lists:
        return ids, _read_list_column(path, table, lists[0])
    numbers = table.select(pl.selectors.numeric().exclude(ITEM_ID_COLUMN))
    if not numbers.width:
        raise SidError(
            f"{path} has no column of numbers, and no column of lists of numbers; it has {', '.join(table.columns)}."
        )
    return ids, numbers.to_numpy().astype(np.float32)


def _read_list_column(path: Path, table: pl.DataFrame, name: str) -> Float32Array:
    """Return a column of lists as a table; raise `SidError` with the first row that does not fit."""
    kind = table.schema[name]
    inner = kind.inner if isinstance(kind, pl.List | pl.Array) else kind
    if not inner.is_numeric():
        raise SidError(f"{path}: column {name!r} holds {kind}; lists of numbers are needed.")
    lists = table[name].cast(pl.List(pl.Float32))
    lengths = lists.list.len().to_list()
    width = next((length for length in lengths if length), 0)
    if not width:
        raise SidError(f"{path}: column {name!r} holds no vector.")
    for row, length in enumerate(lengths):
        if length != width:
            held = f"{path}, row {row}: {name!r} holds {length or 'no'} numbers, where others hold {width}"
            raise SidError(f"{held}; each row needs as many.")
    return lists.explode().to_numpy().astype(np.float32).reshape(table.height, width)
