from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.support.serving import open_client
from trialigngr.runs.run import Run, load
from trialigngr.serve.api_keys import KeyRing
from trialigngr.serve.service import Service, open_service


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> Run:
    return load(tiny_run)


@pytest.fixture(scope="module")
def service(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Service:
    return open_service([tiny_run], KeyRing(), tmp_path_factory.mktemp("events") / "events.jsonl")


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with open_client(service) as client:
        yield client
