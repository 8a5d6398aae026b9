"""What every test may lean on: nothing is fetched, examples come back, and the shared data sets if they are there."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Set before anything imports the libraries that read them.
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
