"""`SemanticIds`: which item has which codes, how they are written, and how they are read back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import numpy.typing as npt

from trialigngr.foundation.errors import ArtifactError

END_CODE = -1
"""The code of a level that an item does not have (SIDs of unequal length end early)."""

LARGEST = 1 << 24
"""Codes of a codebook at most: tables of a codebook's size must fit into memory."""

Codes = npt.NDArray[np.int32]
_TOKEN_PATTERN = re.compile(r"<([a-z])_(\d{1,18})>")


def format_token(level: int, code: int) -> str:
    """Return how a code is written, as one vocabulary token: level 0, code 195 → ``<a_195>``."""
    return f"<{ascii_lowercase[level]}_{code}>"


def list_sid_tokens(codebook_sizes: Sequence[int]) -> list[str]:
    """Return every token of codebooks of these sizes, level by level, code by code."""
    return [format_token(level, code) for level, size in enumerate(codebook_sizes) for code in range(size)]


def parse_sid(text: str) -> tuple[int, ...]:
    """Return the codes that ``<a_195><b_112><c_7>`` writes; raise `ValueError` if it is not a SID."""
    found = _TOKEN_PATTERN.findall(text)
    codes = tuple(int(code) for _, code in found)
    written = "".join(format_token(level, code) for level, code in enumerate(codes[: len(ascii_lowercase)]))
    if not found or written != text:
        shown = text if len(text) <= 60 else f"{text[:59]}…"
        raise ValueError(f"{shown!r} is not a Semantic ID such as '<a_195><b_112><c_7>'.")
    return codes


def read_sizes(text: str) -> tuple[int, ...]:
    """Return codebook sizes as a file tells them, ``"256 256 256"``; raise `ValueError` for something else."""
    sizes = tuple(map(int, text.split()))
    if not sizes or min(sizes) < 1 or max(sizes) > LARGEST:
        raise ValueError(f"{text!r} are no sizes of codebooks")
    return sizes


@dataclass(frozen=True)
class SemanticIds:
    """The codes of N items. ``codes_NL`` [N, L] is padded with `END_CODE` at the right; ``codebook_sizes`` [L] are
    codebook sizes."""

    item_ids: list[str]
    codes_NL: Codes
    codebook_sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        n, levels = self.codes_NL.shape
        if n != len(self.item_ids) or levels != len(self.codebook_sizes) or levels > len(ascii_lowercase):
            raise ArtifactError(
                f"{len(self.item_ids)} items and {len(self.codebook_sizes)} codebooks, but codes of shape {n} × "
                f"{levels}."
            )
        if n and (
            self.codes_NL.min() < END_CODE
            or (self.codes_NL >= np.array(self.codebook_sizes)).any()
            or (self.codes_NL[:, 0] == END_CODE).any()
            or ((self.codes_NL[:, :-1] == END_CODE) & (self.codes_NL[:, 1:] != END_CODE)).any()
        ):
            raise ArtifactError("A code lies outside its codebook, or stands behind the end of its SID.")

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def num_levels(self) -> int:
        """The number of levels L."""
        return len(self.codebook_sizes)

    def item_tokens(self, row: int) -> list[str]:
        """Return an item's tokens, coarse to fine."""
        return [format_token(level, code) for level, code in enumerate(self.codes_NL[row].tolist()) if code != END_CODE]

    def sid_text(self, row: int) -> str:
        """Return an item's SID as written, ``<a_195><b_112><c_7>``."""
        return "".join(self.item_tokens(row))

    @property
    def content_digest(self) -> str:
        """16 hex digits that change with any item, its place or its codes."""
        shape = f"{self.item_ids}\0{self.codebook_sizes}\0".encode()
        return sha256(shape + np.ascontiguousarray(self.codes_NL, dtype="<i4").tobytes()).hexdigest()[:16]

    @cached_property
    def rows_by_codes(self) -> dict[tuple[int, ...], list[int]]:
        """Codes (without `END_CODE`) → rows of the items that bear them."""
        rows: dict[tuple[int, ...], list[int]] = {}
        for row, codes in enumerate(self.codes_NL.tolist()):
            rows.setdefault(tuple(code for code in codes if code != END_CODE), []).append(row)
        return rows

    def save(self, folder: Path, **metadata: str) -> None:
        """Write ``sids.parquet``: item_id, sid (as written), codes; the sizes and ``told`` stand in its metadata."""
        import polars as pl  # here, because decoding needs codes and a trie but no tables

        from trialigngr.foundation.tables import write_table

        table = pl.DataFrame(
            {
                "item_id": pl.Series(self.item_ids, dtype=pl.String),
                "sid": pl.Series([self.sid_text(row) for row in range(len(self))], dtype=pl.String),
                "codes": pl.Series(self.codes_NL.tolist(), dtype=pl.List(pl.Int32)),
            }
        )
        write_table(
            table, folder / "sids.parquet", metadata={"sizes": " ".join(map(str, self.codebook_sizes)), **metadata}
        )

    @classmethod
    def load(cls, folder: Path) -> SemanticIds:
        """Read what `save` wrote; raise `ArtifactError` if it is not there, or something else."""
        import polars as pl

        from trialigngr.foundation.artifact import check_file
        from trialigngr.foundation.tables import read_table, read_told

        path = check_file(folder / "sids.parquet")
        table, metadata = read_table(path), read_told(path)
        if "sizes" not in metadata:
            raise ArtifactError(f"{path} was not written as SIDs (it does not tell its codebooks' sizes).")
        try:
            sizes = read_sizes(metadata["sizes"])
            ids = table["item_id"].cast(pl.String, strict=True).to_list()
            codes_NL = np.array(table["codes"].to_list(), dtype=np.int32).reshape(table.height, len(sizes))
            if None in ids or len(set(ids)) < len(ids) or table.schema["codes"] != pl.List(pl.Int32):
                raise ValueError("an item has no id, or stands twice, or the codes are no lists of Int32")
            return cls(ids, codes_NL, sizes)
        except (pl.exceptions.PolarsError, ValueError, TypeError, OverflowError, ArtifactError) as error:
            raise ArtifactError(
                f"{path} holds no SIDs as they are written here: {str(error).splitlines()[0]}"
            ) from None
