"""Captions and tags as people get to see them: figures, sheet, page; and pictures by address, through a whole run."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.support.commands import Done
from tests.support.picture_server import picture_server
from trialigngr.foundation.artifact import record_files
from trialigngr.report.from_run.enrichment_statistics import build_enrichment_section
from trialigngr.runs.run import Run
from trialigngr.studies.annotation_sheet import FORMULA_PREFIXES, escape_formula

Cli = Callable[..., Done]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_show_tells_the_figures(cli: Cli, tiny_run: Path) -> None:
    told = cli("enrich", "show", tiny_run)
    assert told.code == 0, told.err
    assert "captions: 59; without one 0.0 % of all items, 0.0 % of those with a picture" in told.out
    body = json.loads(cli("enrich", "show", tiny_run, "--json").out)
    assert body["captions"]["num_captions"] == 59
    facts = json.loads((tiny_run / "interests" / "manifest.json").read_text())["facts"]
    assert (body["tags"]["num_tags"], body["tags"]["num_distinct"]) == (facts["tags"], facts["distinct_tags"])
    one = json.loads(cli("enrich", "show", tiny_run, "p0003", "--json").out)[0]
    assert one["item"].startswith("p0003")
    assert cli("enrich", "show", tiny_run / "nothing").code == 2


def test_the_page_shows_the_same_items_each_time(tiny_run: Path) -> None:
    one, other = (build_enrichment_section(Run(tiny_run).artifacts) for _ in range(2))
    assert one == other
    assert len(one.items) == len({described.item.title for described in one.items}) == 12
    page = (tiny_run / "report.html").read_text(encoding="utf-8")
    assert 'id="seen"' in page
    assert one.items[0].caption in page.replace("&#39;", "'")


@pytest.fixture
def other_run(copied_run: Path) -> Path:
    """The same run by another name, with other captions and worse text."""
    place = copied_run / "captions" / "captions.parquet"
    table = pl.read_parquet(place)
    evil = [f'=HYPERLINK("http://evil/{n}";"x")' for n in range(table.height)]
    table.with_columns(caption=pl.Series(evil)).write_parquet(place)
    record_files(place.parent)
    return copied_run


def test_a_sheet_is_blind_and_its_key_tells(cli: Cli, tiny_run: Path, other_run: Path, tmp_path: Path) -> None:
    done = cli(
        "enrich", "annotation-sheet", tiny_run, other_run, "--items", 20, "--seed", 3, "--out", tmp_path / "sheet.csv"
    )
    assert done.code == 0, done.err
    rows, key = rows_of(tmp_path / "sheet.csv"), rows_of(tmp_path / "sheet.key.csv")
    assert [row["answer"] for row in rows] == [row["answer"] for row in key] == [str(n) for n in range(1, 41)]
    # Each item once by each run, and neither run always first.
    assert Counter(row["item_id"] for row in key).most_common()[-1][1] == 2
    assert {one["run"] for one in key[::2]} == {one["run"] for one in key[1::2]} == {str(tiny_run), str(other_run)}
    # Nothing on the sheet but the answers differs between the two rows of an item.
    for one, two in zip(rows[::2], rows[1::2], strict=True):
        assert [one[name] for name in ("item", "title", "picture")] == [
            two[name] for name in ("item", "title", "picture")
        ]
    assert str(other_run) not in (tmp_path / "sheet.csv").read_text(encoding="utf-8-sig")
    for row, told in zip(rows, key, strict=True):
        assert row["caption"].startswith("'=HYPER") is (told["run"] == str(other_run))
        assert row["remarks"] == ""
    again = cli(
        "enrich", "annotation-sheet", tiny_run, other_run, "--items", 20, "--seed", 3, "--out", tmp_path / "again.csv"
    )
    assert again.code == 0
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "sheet.csv").read_bytes()
    # Grades are not written over.
    done = cli("enrich", "annotation-sheet", tiny_run, "--out", tmp_path / "sheet.csv")
    assert done.code == 2
    assert "perhaps with grades in it" in done.err


def test_no_cell_is_a_formula() -> None:
    for start in FORMULA_PREFIXES:
        for text in (f"{start}cmd|' /C calc'!A0", f"  {start}1+1", f"\n{start}x", f"\ufeff{start}x", f"\x00{start}x"):
            assert not escape_formula(text).startswith(FORMULA_PREFIXES)
    assert escape_formula("plain, text") == "plain, text"
    assert escape_formula("two\nlines\ttabbed") == "two lines tabbed"


def test_a_run_on_pictures_by_address(cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    """Every stage sees the fetched pictures, each fetched once; those that fail are listed with their reason."""
    data = Path(shutil.copytree(tiny_run / "shop", tmp_path / "data"))
    items = pl.read_parquet(data / "items.parquet").sort("item_id").head(12)
    with picture_server() as server:
        paths = [f"colour/%23{n:02x}8040" for n in range(items.height)]
        paths[3], paths[4] = "nothing", "html"
        elsewhere = ["http://cdn.test/6", "http://cdn.test/7"]
        urls = pl.Series("image_url", [*map(server.url, paths[:6]), *elsewhere, *map(server.url, paths[8:])])
        items.drop("image_path").with_columns(urls).write_parquet(data / "items.parquet")
        changes = {
            "catalog.k_core": 0,
            "catalog.unknown_items": "drop",
            "catalog.images.allowed_private_hosts": [server.host],
            "interests.generator": "none",
        }
        sets = [word for name, value in changes.items() for word in ("--set", f"{name}={json.dumps(value)}")]
        words = ["trialigngr-demo", "--data", data, "--out", tmp_path / "run", "--until", "embeddings", *sets]
        done = cli("run", *words)
        assert done.code == 0, done.err
        assert "2 pictures could not be had (not found 1, not a picture 1); their items are without one" in done.err
        assert set(server.asked.values()) == {1}
        assert cli("run", *words).code == 0
        assert set(server.asked.values()) == {1}
    ids = items["item_id"].to_list()
    facts = json.loads((tmp_path / "run" / "embeddings" / "manifest.json").read_text())["facts"]
    assert facts["items_with_image"] == len(ids) - 4
    captions = pl.read_parquet(tmp_path / "run" / "captions" / "captions.parquet")
    failed = captions.filter(pl.col("caption").is_null()).select("item_id", "problem").rows()
    assert failed[:2] == [(ids[3], "not found"), (ids[4], "not a picture")]
    assert failed[2:] == [(ids[6], "host not allowed"), (ids[7], "host not allowed")]
    done = cli("enrich", "status", tmp_path / "run")
    assert "pictures: 2 not fetched, as catalog.images.allowed_hosts does not name their hosts\n" in done.out
    assert "host not allowed" not in done.out
    assert "pictures: 2 failed" in done.out
    assert f"1 × not found: {ids[3]}" in done.out
    assert "picture    none: not found" in cli("enrich", "show", tmp_path / "run", ids[3]).out
    assert str(tmp_path / "run" / "images") in cli("enrich", "show", tmp_path / "run", ids[5]).out
