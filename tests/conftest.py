"""What every test may lean on: nothing is fetched, examples come back, and the shared data sets if they are there."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import multiprocessing
import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Set before anything imports the libraries that read them. Models here are tiny, and tests run on every core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).resolve().parents[1]
HOME_ADDRESSES = {"127.0.0.1", "::1", "localhost"}

# A slow machine is not a failure, and a run of the tests must come back the same.
settings.register_profile("trialigngr", deadline=None, derandomize=True, database=None)
settings.load_profile("trialigngr")


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


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code, what it printed, what it said on stderr."""

    code: int
    out: str
    err: str


HEAVY = [
    *("torch", "transformers", "sentence_transformers", "faiss", "sklearn.decomposition", "sklearn.manifold"),
    *("sklearn.neural_network", "matplotlib.figure", "tests.pipeline.breaking"),
    *("trialigngr.pipeline", "trialigngr.cli.runs"),
]
SERVED = ["benchmarks.servers.mining", "openai", "trialigngr.llm.openai_generator"]


def start_forkserver() -> None:
    """Start the one server of this session that processes are forked from, with all that any test's processes import.

    The first list of modules counts, and there is one server: so whoever comes first must load them all.
    """
    multiprocessing.set_forkserver_preload([*HEAVY, *SERVED])
    forkserver.ensure_running()


def trialigngr(*words: str | Path) -> Done:
    """Run ``trialigngr WORDS`` in this process, as the entry point does. An error that is a bug is raised."""
    from trialigngr.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    code, before = 0, sys.argv
    sys.argv = ["trialigngr", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = before
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def cli() -> Callable[..., Done]:
    """Return a call that runs the command line: ``cli("run", "trialigngr-demo", "--out", folder).code``."""
    return trialigngr


TINY = {
    "shop.num_items": 60,
    "shop.num_shoppers": 80,
    "sids.codebook_sizes": [8, 8, 8],
    "model.num_layers": 1,
    "model.hidden_size": 32,
    "model.num_heads": 2,
    "model.ffn_size": 64,
    "model.vocab_size": 600,
    "train.max_steps": 12,
    "train.batch_size": 32,
    "train.validate_every": 4,
    "train.validate_users": 20,
    "train.checkpoint_seconds": 0,
}
"""Settings under which the demo's recipe takes seconds."""


def tiny(**changes: Any) -> list[str]:
    """Return the words that make a run tiny; ``train__max_steps=4`` changes one of them."""
    chosen = TINY | {name.replace("__", "."): value for name, value in changes.items()}
    return [word for name, value in chosen.items() for word in ("--set", f"{name}={json.dumps(value)}")]


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return a finished tiny run, one for all processes that run tests. Tests that write to it work on a copy."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "runs" / "tiny"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "report.html").exists():
            done = trialigngr("run", "trialigngr-demo", "--out", folder, *tiny())
            assert done.code == 0, done.err
    return folder


@pytest.fixture
def copied_run(tiny_run: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny run for one test to change."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))
