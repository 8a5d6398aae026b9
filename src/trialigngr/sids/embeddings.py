"""Embeddings as users have them: safetensors, npy, Parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.tables import read_table
from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.levels import Vectors

ID = "item_id"


def read_embeddings(path: Path) -> tuple[list[str], Vectors]:
    """Return item ids and vectors [N, D]; where the file names no items they are called "0", "1", ….

    ``.npy``: an array [N, D], memory-mapped. ``.safetensors``: the tensor ``embeddings``, or the only one; ids from
    ``texts.parquet`` beside it, as a run has them. ``.parquet``: ``item_id`` and one list column, or numeric columns.
    Raises `SidError` if the file is none of these.
    """
    readers = {".npy": _read_npy, ".safetensors": _read_safetensors, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise SidError(f"{path}: embeddings are read from {', '.join(readers)}.")
    if not path.is_file():
        raise SidError(f"There is no file {path}.")
    ids, vectors_ND = readers[path.suffix](path)
    if vectors_ND.ndim != 2:
        raise SidError(f"{path} holds an array of shape {vectors_ND.shape}; embeddings are a table, one row an item.")
    ids = [str(row) for row in range(len(vectors_ND))] if ids is None else ids
    if len(ids) != len(vectors_ND):
        raise SidError(f"{path}: {len(ids)} item ids stand beside {len(vectors_ND)} embeddings.")
    if len(set(ids)) != len(ids):
        raise SidError(f"{path} names an item twice: {next(name for name in ids if ids.count(name) > 1)!r}.")
    return ids, vectors_ND


def _read_npy(path: Path) -> tuple[None, Vectors]:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise SidError(f"{path} cannot be read as a numpy array: {error}.") from None
    if not np.issubdtype(loaded.dtype, np.number):
        raise SidError(f"{path} holds {loaded.dtype}, not numbers.")
    return None, loaded


def _read_safetensors(path: Path) -> tuple[list[str] | None, Vectors]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, TypeError) as error:
        raise SidError(f"{path} cannot be read: {error}. (bfloat16 is not; save as float32 or float16.)") from None
    if "embeddings" not in tensors and len(tensors) != 1:
        raise SidError(f"{path} holds {', '.join(sorted(tensors))}; name the table of embeddings 'embeddings'.")
    beside = path.with_name("texts.parquet")
    ids = read_table(check_file(beside), [ID])[ID].to_list() if beside.is_file() else None
    return ids, tensors.get("embeddings", next(iter(tensors.values())))


def _read_parquet(path: Path) -> tuple[list[str] | None, Vectors]:
    try:
        table = pl.read_parquet(path.absolute(), glob=False)
    except pl.exceptions.ComputeError as error:
        raise SidError(f"{path} cannot be read as Parquet: {error}.") from None
    ids = table[ID].cast(pl.String).to_list() if ID in table.columns else None
    lists = [name for name, kind in table.schema.items() if isinstance(kind, pl.List | pl.Array)]
    if len(lists) > 1:
        raise SidError(f"{path} has several columns of lists ({', '.join(lists)}); keep the one with the embeddings.")
    if not lists:
        numbers = table.select(pl.selectors.numeric().exclude(ID))
        return ids, numbers.to_numpy().astype(np.float32)
    lengths = table[lists[0]].cast(pl.List(pl.Float32)).list.len().unique().to_list()
    if len(lengths) != 1 or lengths[0] is None:
        raise SidError(f"{path}: rows of {lists[0]!r} have different lengths ({lengths[:5]}), or none.")
    flat = table[lists[0]].cast(pl.List(pl.Float32)).explode().to_numpy()
    return ids, flat.astype(np.float32).reshape(table.height, lengths[0])
