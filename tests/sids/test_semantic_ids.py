"""Semantic IDs: written, read back, saved and loaded as they were; what is none is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.foundation.errors import ArtifactError
from trialigngr.sids.semantic_ids import END_CODE, SemanticIds, format_token, list_sid_tokens, parse_sid

SIZES = (3, 200, 5)


@st.composite
def semantic_ids(draw: st.DrawFn) -> SemanticIds:
    rows = []
    for _ in range(draw(st.integers(0, 12))):
        length = draw(st.integers(1, 3))
        codes = [draw(st.integers(0, size - 1)) for size in SIZES]
        rows.append([*codes[:length], *[END_CODE] * (3 - length)])
    codes_NL = np.array(rows, dtype=np.int32).reshape(-1, 3)
    return SemanticIds([f"item {row}" for row in range(len(rows))], codes_NL, SIZES)


def ids(*codes: list[int], sizes: tuple[int, ...] = SIZES) -> SemanticIds:
    return SemanticIds([f"i{row}" for row in range(len(codes))], np.array(codes, dtype=np.int32), sizes)


def test_written_as_in_the_paper():
    assert format_token(0, 195) == "<a_195>"
    assert ids([2, 112, 4]).sid_text(0) == "<a_2><b_112><c_4>"
    assert ids([2, END_CODE, END_CODE]).item_tokens(0) == ["<a_2>"]
    assert list_sid_tokens((2, 1)) == ["<a_0>", "<a_1>", "<b_0>"]


@given(semantic_ids())
def test_text_and_back(sids: SemanticIds):
    for row in range(len(sids)):
        codes = tuple(code for code in sids.codes_NL[row].tolist() if code != END_CODE)
        assert parse_sid(sids.sid_text(row)) == codes
        assert row in sids.rows_by_codes[codes]
        assert set(sids.item_tokens(row)) <= set(list_sid_tokens(SIZES))
    assert sum(map(len, sids.rows_by_codes.values())) == len(sids)


@pytest.mark.parametrize(
    "text",
    ["", "a_1", "<a_1", "<b_1>", "<a_1><c_2>", "<a_01>", "<a_1> <b_2>", "<a_1><b_2>x", "<a_-1>", "<a_٣>", "<a_1>\n"],
)
def test_what_is_no_sid(text: str):
    with pytest.raises(ValueError, match="is not a Semantic ID"):
        parse_sid(text)


def test_more_levels_than_letters():
    with pytest.raises(ValueError, match="is not a Semantic ID"):
        parse_sid("".join(f"<{letter}_0>" for letter in "abcdefghijklmnopqrstuvwxyza"))


@given(sids=semantic_ids())
def test_saved_and_loaded(sids: SemanticIds, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("sids")
    sids.save(folder)
    loaded = SemanticIds.load(folder)
    assert loaded.item_ids == sids.item_ids
    assert loaded.codebook_sizes == sids.codebook_sizes
    assert loaded.codes_NL.dtype == sids.codes_NL.dtype
    assert np.array_equal(loaded.codes_NL, sids.codes_NL)


def test_the_file_opens_without_us(tmp_path: Path):
    ids([2, 112, 4], [0, END_CODE, END_CODE]).save(tmp_path)
    assert pl.read_parquet(tmp_path / "sids.parquet").rows() == [
        ("i0", "<a_2><b_112><c_4>", [2, 112, 4]),
        ("i1", "<a_0>", [0, -1, -1]),
    ]


@pytest.mark.parametrize(
    ("codes", "sizes"),
    [
        ([3, 0, 0], SIZES),
        ([0, 200, 0], SIZES),
        ([0, 0, -2], SIZES),
        ([END_CODE, END_CODE, END_CODE], SIZES),
        ([0, END_CODE, 1], SIZES),
        ([0, 0], SIZES),
    ],
)
def test_codes_that_cannot_be(codes: list[int], sizes: tuple[int, ...]):
    with pytest.raises(ArtifactError):
        ids(codes, sizes=sizes)


def test_as_many_items_as_rows():
    with pytest.raises(ArtifactError, match="2 items and 3 codebooks, but codes of shape 1"):
        SemanticIds(["a", "b"], np.zeros((1, 3), dtype=np.int32), SIZES)


def test_a_folder_without_sids(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"holds no sids\.parquet"):
        SemanticIds.load(tmp_path)
    pl.DataFrame({"item_id": ["a"], "codes": [[1]]}).write_parquet(tmp_path / "sids.parquet")
    with pytest.raises(ArtifactError, match="was not written as SIDs"):
        SemanticIds.load(tmp_path)
