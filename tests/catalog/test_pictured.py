"""`catalog.item_scope = "pictured"`: items without a picture leave with their interactions, and the k-core is taken of
the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.support.picture_server import drawn, picture_server
from trialigngr.catalog.dataset import load_dataset
from trialigngr.catalog.prepare import prepare_catalog
from trialigngr.catalog.settings import CatalogSettings
from trialigngr.foundation.errors import CatalogError

# u, v and w take a, b and c; x takes d, e and a. Without d x has two left and leaves the 3-core, and e with it.
LOG = {"u": "abc", "v": "abc", "w": "abc", "x": "dea"}


def write(root: Path, pictures: dict[str, str | None], log: dict[str, str] = LOG) -> Path:
    """Write a data folder whose items have these pictures, by path or by address."""
    (root / "images").mkdir(parents=True)
    urls = {name: source if source and "://" in source else None for name, source in pictures.items()}
    paths = {name: source if source and "://" not in source else None for name, source in pictures.items()}
    columns = {"item_id": list(pictures), "image_path": list(paths.values()), "image_url": list(urls.values())}
    schema = {"image_path": pl.String, "image_url": pl.String}
    pl.DataFrame(columns, schema_overrides=schema).write_parquet(root / "items.parquet")
    rows = [(user, item, at) for user, taken in log.items() for at, item in enumerate(taken)]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    table.write_parquet(root / "interactions.parquet")
    (root / "images" / "good.png").write_bytes(drawn("red"))
    (root / "images" / "bad.png").write_bytes(b"no picture")
    return root


def run(data: Path, **settings: Any) -> tuple[list[str], list[str], dict[str, Any]]:
    out = data.with_name("out")
    out.mkdir(exist_ok=True)
    facts = prepare_catalog(CatalogSettings(**{"item_scope": "pictured", **settings}), data, out)
    dataset = load_dataset(out)
    return dataset.catalog.item_ids, dataset.histories.user_ids, facts


GOOD = "images/good.png"


def test_interactions_with_items_without_a_picture_leave_and_the_core_is_taken_of_the_rest(tmp_path: Path) -> None:
    pictures = {"a": GOOD, "b": GOOD, "c": GOOD, "d": "images/none.png", "e": GOOD}
    items, users, facts = run(write(tmp_path / "data", pictures), k_core=3)
    assert (items, users) == (["a", "b", "c"], ["u", "v", "w"])
    assert facts["dropped"]["interactions_without_image"] == 1
    assert facts["dropped"]["items_without_image"] == 1
    assert facts["dropped"]["interactions_outside_k_core"] == 2
    assert facts["dropped"]["items_not_in_log"] == 1
    assert facts["without"]["image_path"] == 0


def test_a_file_that_is_no_picture_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = {"a": GOOD, "b": "images/bad.png", "c": None, "d": GOOD, "e": GOOD}
    items, _, facts = run(write(tmp_path / "data", pictures), k_core=0)
    assert items == ["a", "d", "e"]
    assert facts["dropped"]["interactions_without_image"] == 6
    assert "dropped 6 interactions without image" in capsys.readouterr().err


def test_only_pictures_that_may_stay_are_fetched_each_once(tmp_path: Path) -> None:
    with picture_server() as server:
        pictures = {"a": server.url("colour/red"), "b": server.url("nothing"), "c": GOOD, "d": GOOD}
        data = write(tmp_path / "data", pictures | {"e": server.url("colour/blue")}, {**LOG, "y": "cad", "z": "cad"})
        allowed = {"allowed_private_hosts": [server.host]}
        items, users, _ = run(data, k_core=2, images=allowed)
        asked = dict(server.asked)
    assert (items, users) == (["a", "c", "d"], ["u", "v", "w", "x", "y", "z"])
    assert asked == {"/colour/red": 1, "/nothing": 1}  # e is taken once: whatever its picture, it leaves


def test_nothing_with_a_picture_is_an_error_that_says_so(tmp_path: Path) -> None:
    data = write(tmp_path / "data", dict.fromkeys("abcde"))
    with pytest.raises(CatalogError, match=r"left after the filters \(12 without image\)"):
        run(data)


def test_without_the_setting_everything_stays(tmp_path: Path) -> None:
    data = write(tmp_path / "data", {"a": GOOD, "b": "images/bad.png", "c": None, "d": GOOD, "e": GOOD})
    items, _, facts = run(data, k_core=0, item_scope="interacted")
    assert items == list("abcde")
    assert "interactions_without_image" not in facts["dropped"]
