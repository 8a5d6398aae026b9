"""The run that comes with the package: small, of this code, and open in a browser by one command."""

from __future__ import annotations

import signal
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import httpx

from scripts.make_demo import CHANGES, MAX_BYTES, RECIPE
from tests.support.commands import trialigngr
from tests.support.server_process import start_command
from trialigngr.foundation.errors import ArtifactError
from trialigngr.recipes.recipe import read_recipe
from trialigngr.runs.run import load
from trialigngr.serve.demo import DEMO_FILE, unpack_demo

MADE_BEFORE = "The packed run is not what this code makes of scripts/make_demo.py; make it anew: make demo-run"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with unpack_demo() as folder:
        yield folder


def test_it_is_small_and_stays_in_its_folder() -> None:
    assert DEMO_FILE.stat().st_size <= MAX_BYTES
    with zipfile.ZipFile(DEMO_FILE) as packed:
        assert all(".." not in name and not name.startswith("/") for name in packed.namelist())
        assert {entry.external_attr >> 16 for entry in packed.infolist()} == {0o644}


def test_it_is_of_this_code(folder: Path) -> None:
    assert load(folder).recipe == read_recipe(RECIPE, CHANGES), MADE_BEFORE
    try:
        load(folder).check_model()
        load(folder).check_metrics()
    except ArtifactError as error:
        pytest.fail(f"{error} {MADE_BEFORE}")


def test_it_recommends_what_was_learned(folder: Path) -> None:
    run = load(folder)
    history = run.user_history(run.artifacts.histories.user_ids[0])
    found = run.recommend(history, 5)
    assert len({item.item_id for item in found} - set(history)) == 5
    figures = run.metrics
    assert figures["test"]["HR@10"]["value"] > figures["baselines"]["popularity"]["HR@10"]["value"]


@pytest.mark.long
def test_one_command_opens_it_and_leaves_nothing(tmp_path: Path) -> None:
    with start_command("demo", TMPDIR=str(tmp_path)) as (process, address):
        assert "HR@10" in httpx.get(f"{address}/").text
        assert httpx.post(f"{address}/v1/recommendations", json={"history": []}).json()["returned"] == 10
        assert list(tmp_path.glob("trialigngr-*"))
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert not list(tmp_path.glob("trialigngr-*"))


@pytest.mark.parametrize("words", [("demo",), ("serve", "runs/demo")])
def test_missing_packages_are_one_sentence(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.delattr("trialigngr.serve.server", raising=False)
    monkeypatch.setitem(sys.modules, "trialigngr.serve.server", None)
    done = trialigngr(*words)
    assert (done.code, done.out) == (1, "")
    assert done.err == "Error: The service needs some packages: pip install 'trialigngr[serve]'.\n"
