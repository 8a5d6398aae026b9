"""A server in a process of its own: what its description promises holds, and signals lose nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from starlette.testclient import httpx

from tests.support.runs import HISTORY, linked
from tests.support.server_process import serve_run

pytestmark = pytest.mark.long
PATIENCE = 120
TAKEN_WITHIN = 1.0
"""Seconds in which a server that runs takes a request."""


def test_all_that_the_description_says_holds(tiny_run: Path, tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("schemathesis")
    words = [str(command)] if command.exists() else [sys.executable, "-m", "schemathesis.cli"]
    second = linked(tiny_run, tmp_path / "second")  # so that there are two to compare
    with serve_run(tiny_run, second, "--events", tmp_path / "events.jsonl") as (_, address):
        asked = ["--checks", "all", "--max-examples", "30", "--seed", "1", "--no-color"]
        done = subprocess.run(
            [*words, "run", f"{address}/openapi.json", *asked], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stdout[-6000:]
        assert httpx.get(f"{address}/health/ready").json() == {"status": "ok", "reasons": []}


@dataclass(frozen=True)
class Answer:
    """The status of an answer, or None where the connection was refused or cut; and when it was asked for."""

    status: int | None
    asked_at: float


def ask(address: str, number: int) -> Answer:
    asked_at, body = monotonic(), {"history": HISTORY * 20, "item_id": f"p{number % 50:04d}"}
    try:
        return Answer(int(httpx.post(f"{address}/v1/explain", json=body, timeout=PATIENCE).status_code), asked_at)
    except (httpx.ConnectError, httpx.ReadError):
        return Answer(None, asked_at)


def test_a_stop_answers_what_was_taken(tiny_run: Path) -> None:
    with serve_run(tiny_run) as (process, address), ThreadPoolExecutor(8) as pool:
        first = pool.submit(ask, address, 0)
        waiting = [pool.submit(ask, address, number) for number in range(1, 24)]
        assert first.result(PATIENCE).status == 200
        sleep(TAKEN_WITHIN)
        stopped_at = monotonic()
        process.send_signal(signal.SIGTERM)
        answers = [one.result(PATIENCE) for one in waiting]
        assert process.wait(PATIENCE) in (0, -signal.SIGTERM)
    assert {one.status for one in answers} <= {200, 429, None}
    # What came just before may still have stood in the system's queue of connections, where nobody has taken it.
    taken = [one.status for one in answers if one.asked_at < stopped_at - TAKEN_WITHIN]
    assert taken
    assert None not in taken


def test_no_acknowledged_event_is_lost_by_a_kill_of_the_server(tiny_run: Path, tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "events.jsonl", list[str]()

    def send(address: str, client: int) -> None:
        for number in range(10_000):
            event: dict[str, Any] = {
                "event_id": f"{client}-{number}",
                "type": "click",
                "item_ids": ["p"],
                "timestamp": 1,
            }
            try:
                if httpx.post(f"{address}/v1/events", json={"events": [event]}).status_code == 202:
                    acknowledged.append(event["event_id"])
            except httpx.TransportError:
                return
            if len(acknowledged) >= 100:
                process.kill()

    with serve_run(tiny_run, "--events", path) as (process, address), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda client: send(address, client), range(4)))
    assert len(acknowledged) >= 100
    with serve_run(tiny_run, "--events", path) as (_, address):
        kept = [json.loads(line)["event_id"] for line in path.read_bytes().splitlines()]
        assert set(acknowledged) <= set(kept)
        assert len(kept) == len(set(kept))
