"""Data at an address: a store on the loopback stands for S3, and what cannot be read is one sentence."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.support.commands import Done
from tests.support.data_folder import Cli, items, log, the_sentence
from tests.support.object_store import ObjectStore, object_store
from trialigngr.datasets.remote import DataAddress, download_tables, read_data_source
from trialigngr.foundation.errors import CatalogError

ITEMS, LOG = pl.DataFrame(items(), schema_overrides={"image_path": pl.String}), pl.DataFrame(log())


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    with object_store() as one:
        for name, value in one.environment.items():
            monkeypatch.setenv(name, value)
        yield one


def parquet(table: pl.DataFrame) -> bytes:
    held = io.BytesIO()
    table.write_parquet(held)
    return held.getvalue()


def test_addresses_are_told_from_folders() -> None:
    assert read_data_source("s3://bucket/shop/") == DataAddress("s3://bucket/shop")
    assert str(read_data_source("hf://datasets/who/shop")) == "hf://datasets/who/shop"
    assert read_data_source("shop/s3:") == read_data_source(Path("shop/s3:")) == Path("shop/s3:")
    with pytest.raises(
        CatalogError, match=r"^ftp://host/shop is an address of a kind that is not read; those are s3://"
    ):
        read_data_source("ftp://host/shop")


def test_files_and_parts_are_read(store: ObjectStore, tmp_path: Path) -> None:
    store.objects = {
        "whole/shop/items.parquet": parquet(ITEMS),
        "whole/shop/interactions.parquet/part-0.parquet": parquet(LOG[:10]),
        "whole/shop/interactions.parquet/part-1.parquet": parquet(LOG[10:]),
    }
    assert download_tables(DataAddress("s3://whole/shop"), tmp_path) == {"items": 6, "interactions": 36}
    assert pl.read_parquet(tmp_path / "items.parquet").equals(ITEMS)
    assert pl.read_parquet(tmp_path / "interactions.parquet").equals(LOG)


def test_what_cannot_be_read_is_said_with_the_reason(store: ObjectStore, tmp_path: Path) -> None:
    store.objects = {"odd/shop/items.parquet": b"no table at all, and long enough to be one"}
    with pytest.raises(CatalogError, match=r"^s3://odd/shop/items\.parquet cannot be read: [^\n]*\.$"):
        download_tables(DataAddress("s3://odd/shop"), tmp_path)
    with pytest.raises(
        CatalogError, match=r"^s3://odd/none/items\.parquet cannot be read: there is neither such a file"
    ):
        download_tables(DataAddress("s3://odd/none"), tmp_path)
    assert not list(tmp_path.iterdir())


def run(cli: Cli, out: Path) -> Done:
    return cli("run", "trialigngr-demo", "--data", "s3://run/shop", "--out", out, "--until", "catalog")


def test_a_run_reads_an_address_once(store: ObjectStore, cli: Cli, tmp_path: Path) -> None:
    store.objects = {"run/shop/items.parquet": parquet(ITEMS)}
    assert "s3://run/shop/interactions.parquet cannot be read: there is neither" in the_sentence(
        run(cli, tmp_path / "run")
    )
    store.objects["run/shop/interactions.parquet"] = parquet(LOG)
    done = run(cli, tmp_path / "run")
    assert done.code == 0, done.err
    assert "data: 6 items and 36 interactions from s3://run/shop" in done.err
    assert "--data s3://run/shop" in (tmp_path / "run" / "recipe.toml").read_text("utf-8")
    asked = len(store.asked)
    assert run(cli, tmp_path / "run").code == 0
    assert len(store.asked) == asked
    plan = cli("plan", "trialigngr-demo", "--data", "s3://run/shop", "--out", tmp_path / "run")
    assert plan.code == 0, plan.err
    assert plan.out.splitlines()[0].split()[:2] == ["data", "done"]
