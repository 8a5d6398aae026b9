"""What every test may lean on: nothing is fetched, examples come back, and the shared data sets if they are there."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings

from tests.support import sentences
from tests.support.commands import Done, trialigngr
from tests.support.runs import tiny

ROOT = Path(__file__).resolve().parents[1]
HOME_ADDRESSES = {"127.0.0.1", "::1", "localhost"}

# A slow machine is not a failure, and a run of the tests must come back the same.
settings.register_profile("trialigngr", deadline=None, derandomize=True, database=None)
settings.load_profile("trialigngr")


FIRST = ("train", "pipeline", "studies", "runs", "enrich", "llm", "images", "decode", "cli")
"""Rooms whose tests take longest. They are begun first, so that no process is left alone with one at the end; those of
training before those that wait for the one tiny run."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the rooms that take longest first."""
    place = {room: number for number, room in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.parent.name, len(FIRST)))


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the folder of the project."""
    return ROOT


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Return a call that gives the folder of a real data set by name, or skips the test where it is missing."""

    def folder(name: str) -> Path:
        base = Path(os.environ.get("TRIALIGNGR_SHARED_DATA") or ROOT.parent / "shared" / "data")
        if not (base / name).is_dir():
            pytest.skip(f"needs the data set {name} in {base} (set TRIALIGNGR_SHARED_DATA)")
        return base / name

    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections that leave this machine; servers of the tests' own on the loopback are fine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in HOME_ADDRESSES:
            raise RuntimeError(f"a test tried to reach {address}; tests use no network")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def no_shared_stages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs that lie side by side share nothing, or what one makes would stand in for what another is tested on."""
    if request.node.get_closest_marker("shared_stages") is None:
        monkeypatch.setattr("trialigngr.pipeline.stage_graph.find_finished_stage", lambda *_: None)


@pytest.fixture(scope="session")
def cli() -> Callable[..., Done]:
    """Return a call that runs the command line: ``cli("run", "trialigngr-demo", "--out", folder).code``."""
    return trialigngr


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return a folder that all processes that run tests share."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def remembered_sentences(shared_folder: Path) -> None:
    """Let commands in this process encode a list of texts once."""
    sentences.folder = shared_folder / "sentences"
    sentences.folder.mkdir(exist_ok=True)


@pytest.fixture(scope="session")
def tiny_run(shared_folder: Path) -> Path:
    """Return a finished tiny run, one for all processes that run tests. Tests that write to it work on a copy."""
    folder = shared_folder / "runs" / "tiny"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.parent / "lock"):
        if not (folder / "report.html").exists():
            done = trialigngr("run", "trialigngr-demo", "--out", folder, *tiny())
            assert done.code == 0, done.err
    return folder


@pytest.fixture
def copied_run(tiny_run: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny run for one test to change."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))
