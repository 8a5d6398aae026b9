"""The service under Ray Serve, two replicas of it (`make test-ray`)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import httpx

from tests.support.runs import HISTORY
from trialigngr.foundation.errors import ArgumentError
from trialigngr.runs.run import load
from trialigngr.serve.ray_deployment import build_deployment

HAS_RAY = find_spec("ray") is not None and find_spec("opencensus") is not None
PORT = 8765
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray Serve needs: make test-ray")


def test_ray_serve_is_asked_for_by_its_name() -> None:
    if HAS_RAY:
        pytest.skip("Ray Serve is installed")
    with pytest.raises(ArgumentError, match=r"trialigngr\[ray,serve\]"):
        build_deployment(["runs/demo"])


@pytest.fixture(scope="module")
def address(tiny_run: Path) -> Iterator[str]:
    import ray
    from ray import serve

    own: dict[str, Any] = {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False}
    ray.init(address="local", _node_ip_address="127.0.0.1", **own)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    options = {"num_replicas": 2, "ray_actor_options": {"num_cpus": 0.5}}
    serve.run(build_deployment([tiny_run], **options), name="shop")
    yield f"http://127.0.0.1:{PORT}"
    serve.shutdown()
    ray.shutdown()


@needs_ray
@pytest.mark.long
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_replicas_answer_as_the_library_does(address: str, tiny_run: Path) -> None:
    expected = [item.item_id for item in load(tiny_run).recommend(HISTORY, 5)]

    def ask(number: int) -> Any:
        body = {"history": HISTORY, "k": 5}
        return httpx.post(f"{address}/v1/recommendations", json=body, timeout=120)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(64)))
    assert {answer.status_code for answer in answers} == {200}
    assert all([item["item_id"] for item in answer.json()["items"]] == expected for answer in answers)
    assert httpx.get(f"{address}/health/ready").json() == {"status": "ok", "reasons": []}
    assert "<h1" in httpx.get(f"{address}/").text
    fault = httpx.post(f"{address}/v1/recommendations", json={"k": 0})
    assert (fault.status_code, fault.json()["error"]["code"]) == (422, "invalid_argument")
    elsewhere = httpx.get(f"{address}/v1/runs", headers={"Host": "shop.example"})
    assert elsewhere.json()["error"]["code"] == "invalid_host"
    assert httpx.post(f"{address}/v1/catalogue/reload", json={}).status_code == 403
