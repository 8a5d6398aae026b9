"""Items come, go and come back while requests are answered; only admins may do that, and only by names."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.runs import HISTORY
from tests.support.serving import ADMIN_KEY, AS_ADMIN, check_fault, open_client
from trialigngr.pipeline.add_items import withdraw_items
from trialigngr.pipeline.execute import lock_run_folder
from trialigngr.runs.snapshot import CatalogSnapshot
from trialigngr.serve.api_keys import KeyRing
from trialigngr.serve.service import Service, open_service

NEW: list[dict[str, Any]] = [
    {"item_id": "new/1", "title": "Pellam Cotton Jacket, size XXL", "brand": "Pellam", "categories": ["Jackets"]},
    {"item_id": "=cmd", "title": "<script>alert(1)</script>"},
]


@pytest.fixture
def service_of_admin(copied_run: Path) -> Service:
    return open_service([copied_run], KeyRing((), (ADMIN_KEY,)))


@pytest.fixture
def admin(service_of_admin: Service) -> Iterator[TestClient]:
    with open_client(service_of_admin) as client:
        yield client


def change(client: TestClient, what: str, **body: Any) -> dict[str, Any]:
    response = client.post(f"/v1/catalogue/{what}", json=body, headers=AS_ADMIN)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def list_offered(client: TestClient) -> set[str]:
    asked = {"history": HISTORY, "k": 100, "include": [], "filter": {"exclude_seen": False}}
    return {item["item_id"] for item in client.post("/v1/recommendations", json=asked).json()["items"]}


@pytest.mark.long
def test_new_items_come_and_go_again(admin: TestClient) -> None:
    first = list_offered(admin)
    grown = change(admin, "append", items=NEW)
    assert (grown["num_items"], grown["changed"]) == (len(first) + 2, True)
    assert list_offered(admin) == first | {"new/1", "=cmd"}
    assert admin.get("/v1/items/new%2F1").json()["metadata"]["brand"] == "Pellam"
    near = admin.get("/v1/items/new%2F1/neighbours?space=sid").json()["neighbours"]
    assert {one["item_id"] for one in near} <= first | {"=cmd"}
    check_fault(admin.post("/v1/catalogue/append", json={"items": NEW[:1]}, headers=AS_ADMIN), 409, "conflict")
    before, after = admin.get("/v1/catalogue/versions", headers=AS_ADMIN).json()["versions"]
    change(admin, "rollback", version=before)
    assert list_offered(admin) == first
    change(admin, "rollback", version=after)
    assert list_offered(admin) == first | {"new/1", "=cmd"}


def test_items_go_and_come_back(admin: TestClient, copied_run: Path) -> None:
    first = list_offered(admin)
    less = change(admin, "withdraw", item_ids=["p0005"])
    assert less["num_withdrawn"] == 1
    assert list_offered(admin) == first - {"p0005"}
    only = {"history": HISTORY, "filter": {"allow_items": ["p0005", "p0006"]}}
    answer = admin.post("/v1/recommendations", json=only).json()
    assert answer["missing_items"] == [{"item_id": "p0005", "reason": "withdrawn"}]
    assert [item["item_id"] for item in answer["items"]] == ["p0006"]
    assert admin.get("/v1/items/p0005").json()["withdrawn"]

    before, after = admin.get("/v1/catalogue/versions", headers=AS_ADMIN).json()["versions"]
    assert after == less["run"]["catalogue_version"]
    assert change(admin, "rollback", version=before)["run"]["catalogue_version"] == before
    assert list_offered(admin) == first
    change(admin, "rollback", version=after)
    assert list_offered(admin) == first - {"p0005"}

    change(admin, "withdraw", item_ids=["p0006"], free_sids=True)
    request = {"version": before}
    check_fault(admin.post("/v1/catalogue/rollback", json=request, headers=AS_ADMIN), 409, "conflict")
    request = {"version": "0000-000000000000"}
    check_fault(admin.post("/v1/catalogue/rollback", json=request, headers=AS_ADMIN), 404, "unknown_version")

    withdraw_items(copied_run, ["p0007"], free_sids=False)  # as the command line does
    assert "p0007" in list_offered(admin)
    assert change(admin, "reload")["changed"]
    assert "p0007" not in list_offered(admin)
    assert not change(admin, "reload")["changed"]


def roll_back_to(client: TestClient, version: str) -> Any:
    return client.post("/v1/catalogue/rollback", json={"version": version}, headers=AS_ADMIN)


@pytest.mark.long
def test_what_came_later_may_have_been_freed(admin: TestClient) -> None:
    first = list_offered(admin)
    change(admin, "append", items=NEW)
    change(admin, "withdraw", item_ids=["new/1"], free_sids=True)
    before = admin.get("/v1/catalogue/versions", headers=AS_ADMIN).json()["versions"]
    change(admin, "rollback", version=before[0])
    assert list_offered(admin) == first
    check_fault(roll_back_to(admin, before[1]), 409, "conflict")


def test_what_was_freed_stays_freed_by_a_rollback(admin: TestClient) -> None:
    start = change(admin, "reload")["run"]["catalogue_version"]
    reserved = change(admin, "withdraw", item_ids=["p0006"])["run"]["catalogue_version"]
    change(admin, "withdraw", item_ids=["p0006"], free_sids=True)
    change(admin, "rollback", version=reserved)
    check_fault(roll_back_to(admin, start), 409, "conflict")
    assert "p0006" not in list_offered(admin)


def test_a_change_meanwhile_may_be_tried_again(admin: TestClient, copied_run: Path) -> None:
    with lock_run_folder(copied_run):
        response = admin.post("/v1/catalogue/withdraw", json={"item_ids": ["p0005"]}, headers=AS_ADMIN)
        assert str(copied_run) not in response.text
        check_fault(response, 409, "busy")
        assert change(admin, "reload")["num_withdrawn"] == 0
    assert change(admin, "withdraw", item_ids=["p0005"])["changed"]


def test_one_change_does_not_wait_for_another(admin: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def withdraw_slowly(*_: Any) -> None:
        begun.set()
        assert goes_on.wait(60)

    monkeypatch.setattr("trialigngr.serve.routes.admin.withdraw_items", withdraw_slowly)
    slow = threading.Thread(target=lambda: change(admin, "withdraw", item_ids=["p0005"]))
    slow.start()
    assert begun.wait(60)
    check_fault(admin.post("/v1/catalogue/reload", json={}, headers=AS_ADMIN), 409, "busy")
    goes_on.set()
    slow.join()
    assert not change(admin, "reload")["changed"]


def test_a_folder_that_cannot_be_written_is_taken_up(
    admin: TestClient, copied_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    withdraw_items(copied_run, ["p0007"], free_sids=False)
    monkeypatch.setattr("trialigngr.serve.catalog_versions.write_json", refuse)
    assert change(admin, "reload")["changed"]
    assert "p0007" not in list_offered(admin)


def test_what_broke_off_half_way_is_taken_up(admin: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("trialigngr.pipeline.add_items.publish_sids", refuse)
        response = admin.post("/v1/catalogue/withdraw", json={"item_ids": ["p0005"]}, headers=AS_ADMIN)
    check_fault(response, 500, "internal")
    assert "p0005" not in list_offered(admin)


def test_a_catalogue_is_warm_before_it_answers(
    admin: TestClient, service_of_admin: Service, copied_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = service_of_admin.runs.values()
    before, warmed = run.snapshot, list[bool]()
    warm = run._warm_index

    def note(snapshot: CatalogSnapshot) -> None:
        warm(snapshot)
        warmed.append(run.snapshot is before and snapshot is not before)

    monkeypatch.setattr(run, "_warm_index", note)
    change(admin, "withdraw", item_ids=["p0005"])
    assert warmed == [True]


def test_a_damaged_run_is_told_without_its_paths(
    admin: TestClient, copied_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied_run / "sids" / "sids.parquet").write_bytes(b"x")
    response = admin.post("/v1/catalogue/withdraw", json={"item_ids": ["p0005"]}, headers=AS_ADMIN)
    check_fault(response, 503, "damaged_run")
    assert str(copied_run) not in response.text
    assert str(copied_run) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("append", {"items": [{"item_id": "a", "image_path": "/etc/passwd"}]}),
        ("append", {"items": [{"item_id": "a", "image_url": "http://127.0.0.1/"}]}),
        ("append", {"source": "/etc"}),
        ("rollback", {"version": "../../etc/passwd"}),
        ("withdraw", {"item_ids": []}),
    ],
)
def test_paths_and_addresses_are_never_taken(admin: TestClient, what: str, body: dict[str, Any]) -> None:
    check_fault(admin.post(f"/v1/catalogue/{what}", json=body, headers=AS_ADMIN), 422, "invalid_argument")


def test_only_admins_may(admin: TestClient) -> None:
    check_fault(admin.post("/v1/catalogue/reload", json={}), 403, "forbidden")
    wrong = {"Authorization": "Bearer another-key-of-the-tests"}
    check_fault(admin.post("/v1/admin/drain", json={}, headers=wrong), 403, "forbidden")
    drained = admin.post("/v1/admin/drain", headers=AS_ADMIN).json()
    assert drained == {"status": "not ready", "reasons": ["draining"]}
    assert admin.get("/health/ready").status_code == 503
    assert admin.post("/v1/recommendations", json={"history": HISTORY}).status_code == 200


@contextmanager
def ask_meanwhile(client: TestClient, changes: Sequence[str]) -> Iterator[list[tuple[int, set[str]]]]:
    """Ask all the while for all items; give for each answer how many changes were made when it was asked for, and its
    items."""
    stop, answers, statuses = threading.Event(), list[tuple[int, set[str]]](), list[int]()

    def ask() -> None:
        while not stop.is_set():
            made = len(changes)
            asked = {"history": HISTORY, "k": 100, "include": [], "filter": {"exclude_seen": False}}
            response = client.post("/v1/recommendations", json=asked)
            statuses.append(response.status_code)
            answers.append((made, {item["item_id"] for item in response.json().get("items", ())}))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}
    assert len(answers) >= len(threads)


def test_a_reload_under_load_drops_nothing(admin: TestClient) -> None:
    withdrawn = list[str]()
    with ask_meanwhile(admin, withdrawn) as answers:
        for number in range(20, 28):
            assert change(admin, "withdraw", item_ids=[f"p{number:04d}"])["changed"]
            withdrawn.append(f"p{number:04d}")
    for gone, found in answers:
        assert not found & set(withdrawn[:gone]), "what was gone when the request came"


@pytest.mark.long
def test_an_append_under_load_drops_nothing(admin: TestClient) -> None:
    first, appended = list_offered(admin), list[str]()
    with ask_meanwhile(admin, appended) as answers:
        for item in NEW:
            assert change(admin, "append", items=[item])["changed"]
            appended.append(item["item_id"])
    answers.append((len(appended), list_offered(admin)))
    assert any(not made for made, _ in answers), "nobody waits for an append"
    for made, found in answers:
        assert first | set(appended[:made]) <= found <= first | set(appended)
