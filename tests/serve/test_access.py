"""Keys: who may ask, who may change, and what a server refuses to start with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.commands import Done
from tests.support.runs import HISTORY
from tests.support.serving import ADMIN_KEY, AS_ADMIN, check_fault, open_client
from trialigngr.foundation.errors import ArgumentError
from trialigngr.serve.api_keys import KeyRing, read_keys
from trialigngr.serve.service import open_service

KEY = "client-key-of-the-tests"


@pytest.fixture(scope="module")
def guarded(tiny_run: Path) -> Iterator[TestClient]:
    with open_client(open_service([tiny_run], KeyRing((KEY, "another-" + KEY), (ADMIN_KEY,)))) as client:
        yield client


@pytest.mark.parametrize("shown", [None, "", KEY, f"Basic {KEY}", "Bearer", "Bearer ", f"Bearer {KEY}x", "Bearer ü"])
@pytest.mark.parametrize("path", ["/v1/info", "/metrics", "/openapi.json", "/v1/nothing", "/v1/catalogue/versions"])
def test_without_a_key_nothing_is_told(
    guarded: TestClient, path: str, shown: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    headers = {} if shown is None else {"Authorization": shown.encode("latin-1")}
    response = guarded.get(path, headers=headers)
    fault = check_fault(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    assert KEY not in str(fault) + "".join(capsys.readouterr())


def test_a_key_opens_what_it_is_for(guarded: TestClient) -> None:
    for key in (KEY, "another-" + KEY, ADMIN_KEY):
        shown = {"Authorization": f"bearer {key}", "Host": "shop.example"}
        answer = guarded.post("/v1/recommendations", json={"history": HISTORY, "k": 1}, headers=shown)
        assert answer.status_code == 200
    check_fault(guarded.get("/v1/catalogue/versions", headers={"Authorization": f"Bearer {KEY}"}), 403, "forbidden")
    assert guarded.get("/v1/catalogue/versions", headers=AS_ADMIN).status_code == 200
    assert guarded.get("/health/live").status_code == 200
    assert guarded.get("/health/ready").status_code == 200


def test_events_are_off_unless_asked_for(guarded: TestClient) -> None:
    events = {"events": [{"event_id": "a", "type": "click", "item_ids": ["p"], "timestamp": 1}]}
    check_fault(guarded.post("/v1/events", json=events, headers=AS_ADMIN), 409, "events_off")


def test_keys_are_read_from_files(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# of the shop\n\n {KEY} \nanother-{KEY}\n")
    assert read_keys(path) == (KEY, f"another-{KEY}")
    assert read_keys(None) == ()
    for wrong in ("", "# nothing\n", "short\n"):
        path.write_text(wrong)
        with pytest.raises(ArgumentError, match="needs keys of at least 16 letters") as raised:
            read_keys(path)
        assert "short\n" not in str(raised.value)
    path.write_text("ein Schlüssel für den Laden\n")
    with pytest.raises(ArgumentError, match="letters other than ASCII"):
        read_keys(path)
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_keys(tmp_path / "none")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "localhost.evil.example"])
def test_other_hosts_need_keys(cli: Callable[..., Done], tiny_run: Path, host: str) -> None:
    done = cli("serve", tiny_run, "--host", host, "--port", 0)
    assert (done.code, done.out) == (2, "")
    assert "can be reached by others: give --api-key-file" in done.err


@pytest.mark.parametrize("command", [("serve", "--port", 0), ("explore", "--html", "out.html")])
def test_a_run_without_a_language_model_does_not_start(
    cli: Callable[..., Done], copied_run: Path, command: tuple[Any, ...]
) -> None:
    recipe = copied_run / "recipe.toml"
    text = recipe.read_text()
    headed = re.sub(r"(?m)^systems = \[.*?\]", 'head = "popularity"\nsystems = []', text, count=1, flags=re.DOTALL)
    assert headed != text
    recipe.write_text(headed)
    done = cli(command[0], copied_run, *command[1:])
    assert (done.code, done.out) == (2, "")
    assert "has no language model, its table is headed by popularity" in done.err


def test_a_folder_that_is_no_run_does_not_start(cli: Callable[..., Done], tmp_path: Path) -> None:
    done = cli("serve", tmp_path, "--port", 0)
    assert done.code == 2
    assert "Traceback" not in done.err
