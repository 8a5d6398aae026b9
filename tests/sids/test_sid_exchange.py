"""Formats of other systems: exact forms, round trips, files that are something else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.sids.errors import SidError
from trialigngr.sids.formats import FORMATS, export_sids, import_sids
from trialigngr.sids.semantic_ids import END_CODE, SemanticIds

SIDS = SemanticIds(["p", 'q "ü"', "r"], np.int32([[0, 1], [2, 0], [0, 1]]), (3, 2))


def test_the_exact_forms(tmp_path: Path) -> None:
    export_sids(SIDS, "lcrec", tmp_path / "x.index.json")
    assert json.loads((tmp_path / "x.index.json").read_text())["p"] == ["<a_0>", "<b_1>"]
    export_sids(SIDS, "flashrec", tmp_path / "catalog.json")
    body = json.loads((tmp_path / "catalog.json").read_text())
    assert body == {"0,1": [{"pid": "p"}, {"pid": "r"}], "2,0": [{"pid": 'q "ü"'}]}
    export_sids(SIDS, "grid", tmp_path / "sids.pt")
    assert torch.load(tmp_path / "sids.pt", weights_only=True).tolist() == [[0, 2, 0], [1, 0, 1]]


@st.composite
def drawn_sids(draw: st.DrawFn) -> SemanticIds:
    levels = draw(st.integers(1, 4))
    rows = draw(st.lists(st.tuples(*[st.integers(0, 5)] * levels), min_size=1, max_size=8))
    ids = draw(
        st.lists(
            st.text(min_size=1).filter(lambda s: s.isprintable()), min_size=len(rows), max_size=len(rows), unique=True
        )
    )
    codes_NL = np.int32(rows)
    return SemanticIds(ids, codes_NL, tuple((codes_NL.max(0) + 1).tolist()))


@pytest.mark.parametrize("name", FORMATS)
@given(sids=drawn_sids())
def test_round_trips(name: str, sids: SemanticIds, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("sids") / "file"
    export_sids(sids, name, path)
    again = import_sids(name, path)
    ids = [str(row) for row in range(len(sids))] if name == "grid" else sids.item_ids  # GRID knows items by place
    assert again.codebook_sizes == sids.codebook_sizes
    assert {item_id: again.sid_text(row) for row, item_id in enumerate(again.item_ids)} == {
        item_id: sids.sid_text(row) for row, item_id in enumerate(ids)
    }


def test_sids_of_unequal_length(tmp_path: Path) -> None:
    sids = SemanticIds(["p", "q"], np.int32([[0, END_CODE], [0, 1]]), (1, 2))
    for name in ("lcrec", "flashrec", "parquet"):
        export_sids(sids, name, tmp_path / name)
        assert sorted(import_sids(name, tmp_path / name).codes_NL.tolist()) == [[0, END_CODE], [0, 1]]
    with pytest.raises(SidError, match="unequal length"):
        export_sids(sids, "grid", tmp_path / "grid")


def test_upper_case_tokens_of_pictures_and_catalogues_without_items_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"0": ["<A_3>", "<B_0>"]}')
    assert import_sids("lcrec", tmp_path / "a.json").codes_NL.tolist() == [[3, 0]]
    (tmp_path / "b.json").write_text('{"3,0": 1}')
    assert import_sids("flashrec", tmp_path / "b.json").item_ids == ["3,0"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lcrec", "[]"),
        ("lcrec", "{"),
        ("lcrec", "{}"),
        ("lcrec", '{"0": ["<b_1>"]}'),
        ("lcrec", '{"0": 5}'),
        ("flashrec", '{"a,b": 1}'),
        ("flashrec", '{"1,2": ["x"]}'),
        ("grid", "no tensor"),
    ],
)
def test_files_that_are_something_else_are_refused(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(SidError):
        import_sids(name, tmp_path / "file")


def test_a_pickle_that_would_run_code_is_not_opened(tmp_path: Path) -> None:
    torch.save({"run": print}, tmp_path / "evil.pt")
    with pytest.raises(SidError, match="read safely"):
        import_sids("grid", tmp_path / "evil.pt")


def test_unknown_formats_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(SidError, match="no format 'csv'"):
        export_sids(SIDS, "csv", tmp_path / "x")
    with pytest.raises(SidError, match="no file"):
        import_sids("lcrec", tmp_path / "x")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("flashrec", '{"1,1,2": [{"pid": "x"}], "1,1,3": [{"pid": "x"}]}', r"more than once; first: \['x'\]"),
        ("flashrec", '{"1,1": [{"pid": null}]}', "pid is None"),
        ("flashrec", '{"1,1": [{"pid": "x"}], "1,1": [{"pid": "y"}]}', "'1,1' more than once"),
        ("lcrec", '{"7": ["<a_1>"], "7": ["<a_2>"]}', "'7' more than once"),
    ],
)
def test_items_that_stand_twice_are_named(name: str, text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(SidError, match=sentence):
        import_sids(name, tmp_path / "file")


def test_items_that_stand_twice_in_a_table_are_named(tmp_path: Path) -> None:
    pl.DataFrame({"item_id": ["x", "x"], "sid": ["<a_1>", "<a_2>"]}).write_parquet(tmp_path / "file")
    with pytest.raises(SidError, match=r"first: \['x'\]"):
        import_sids("parquet", tmp_path / "file")
