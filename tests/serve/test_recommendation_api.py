"""Lists over HTTP: what filters forbid never comes, nothing is silent, and bad input has one shape."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.support.runs import HISTORY
from tests.support.serving import check_fault, open_client
from trialigngr.decode.exact import compute_exact_scores
from trialigngr.pipeline.add_items import withdraw_items
from trialigngr.runs.recommender import Recommender
from trialigngr.runs.request import RecommendRequest
from trialigngr.runs.run import Run
from trialigngr.serve.api_keys import KeyRing
from trialigngr.serve.limits import LIMITS, QueueSettings, RequestLimits
from trialigngr.serve.request_models import RecommendationQuery
from trialigngr.serve.service import Service, open_service

RECOMMEND = "/v1/recommendations"


def recommend(client: TestClient, **query: Any) -> dict[str, Any]:
    response = client.post(RECOMMEND, json={"history": HISTORY} | query)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def ids(found: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in found["items"]]


def test_a_request_gets_what_the_library_says(client: TestClient, run: Run) -> None:
    found, expected = recommend(client, k=5), run.recommend(HISTORY, 5)
    assert ids(found) == [item.item_id for item in expected]
    assert [item["score"] for item in found["items"]] == [item.score for item in expected]
    assert [item["score_parts"] for item in found["items"]] == [dict(item.score_parts) for item in expected]
    assert [item["sid_text"] for item in found["items"]] == [item.sid for item in expected]
    assert {item["source"] for item in found["items"]} == {"generator"}
    assert (found["requested"], found["returned"], found["history_used"], found["num_beams"]) == (5, 5, 2, 20)
    assert found["run"]["name"] == run.folder.name
    assert found["softmax"] == run.recipe.decode.score_softmax


def test_every_item_says_why(client: TestClient, run: Run) -> None:
    sids, interests = run.artifacts.sids, run.artifacts.interest_tags
    rows = run.artifacts.catalog.row_by_id
    shared_interests = set()
    for item in recommend(client, k=20)["items"]:
        near = item["why"]["nearest_history"]
        assert {one["item_id"] for one in near} == set(HISTORY)
        assert [one["shared_prefix"] for one in near] == sorted((one["shared_prefix"] for one in near), reverse=True)
        for one in near:
            mine, theirs = sids.codes_NL[rows[item["item_id"]]], sids.codes_NL[rows[one["item_id"]]]
            assert one["shared_prefix"] == next((d for d, same in enumerate(mine == theirs) if not same), len(mine))
            assert -1 <= one["cosine"] <= 1.0001
        shared = item["why"]["shared_interests"]
        known = {tag for taken in HISTORY for tag in interests[rows[taken]]}
        assert shared == [tag for tag in interests[rows[item["item_id"]]] if tag in known]
        shared_interests |= set(shared)
    assert shared_interests


def test_nothing_is_dropped_in_silence(client: TestClient, run: Run) -> None:
    items = run.artifacts.catalog.item_ids
    long = [*items[:15], "nobody", *items[15:25]]
    found = recommend(client, history=long, k=3, filter={"allow_items": [*items, "stranger"], "exclude_seen": True})
    assert found["history_used"] == run.recipe.prompt.max_history
    dropped = [(one["item_id"], one["reason"]) for one in found["history_dropped"]]
    assert dropped == [("nobody", "unknown"), *((item, "too old") for item in items[: 25 - found["history_used"]])]
    assert found["missing_items"] == [{"item_id": "stranger", "reason": "unknown"}]
    assert found["num_dropped"] == len(dropped)
    few = recommend(client, k=5, filter={"allow_items": items[30:32]})
    assert (few["requested"], few["returned"]) == (5, 2)


def test_a_user_of_the_log_needs_no_history(client: TestClient, run: Run) -> None:
    user = run.artifacts.histories.user_ids[3]
    found = recommend(client, history=None, user_id=user, k=4)
    assert ids(found) == [item.item_id for item in run.recommend_user(user, 4)]
    fault = check_fault(client.post(RECOMMEND, json={"user_id": user + "x"}), 404, "unknown_user")
    assert user not in fault["message"]


def test_a_user_of_the_log_has_times_and_a_short_list_of_what_is_dropped(
    service: Service, client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[RecommendRequest]()
    answer = Recommender.recommend

    def note(self: Recommender, requests: Any, filters: Any) -> Any:
        asked.extend(requests)
        return answer(self, requests, filters)

    (served,) = service.runs.values()
    histories = served.run.catalog_snapshot.histories
    times = np.arange(len(histories.items), dtype=np.int64)
    monkeypatch.setattr(Recommender, "recommend", note)
    monkeypatch.setattr(type(histories), "user_times", lambda self, user: times[: len(self.user_sequence(user))])
    long = max(range(len(histories)), key=lambda user: len(histories.user_sequence(user)))
    monkeypatch.setattr("trialigngr.serve.served_run.LIMITS", RequestLimits(history=2))
    monkeypatch.setattr(Recommender, "_count_looked_at", lambda self, request, rows: 1)
    found = recommend(client, history=None, user_id=histories.user_ids[long])
    taken = asked[0].history
    assert asked[0].times == tuple(range(len(taken)))
    assert [one["item_id"] for one in found["history_dropped"]] == list(taken[-3:-1])
    assert found["num_dropped"] == len(taken) - 1


def test_nobody_is_told_what_is_spelled_alike(client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def search(*_: Any) -> str:
        raise AssertionError

    for module in ("histories", "items"):
        monkeypatch.setattr(f"trialigngr.catalog.{module}.did_you_mean", search)
    category = run.artifacts.catalog[0].categories[0]
    asked = {"filter": {"include": {"category": [category + "x"]}}}
    assert "Did you" not in check_fault(client.post(RECOMMEND, json=asked), 404, "unknown_category")["message"]
    for path in ("", "/neighbours", "/image"):
        check_fault(client.get(f"/v1/items/p003{path}"), 404, "unknown_item")
    check_fault(client.post("/v1/explain", json={"history": HISTORY, "item_id": "p003"}), 404, "unknown_item")


def test_the_head_answers_where_no_system_is_named(client: TestClient, run: Run) -> None:
    assert recommend(client)["system"] == recommend(client, system="")["system"] == run.recipe.evaluate.head


def test_an_unknown_system_is_nobody_elses(
    service: Service, client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (served,) = service.runs.values()
    sizes = list[int]()
    answer = Recommender.recommend

    def count(self: Recommender, requests: Any, filters: Any) -> Any:
        sizes.append(len(requests))
        return answer(self, requests, filters)

    monkeypatch.setattr(Recommender, "recommend", count)
    monkeypatch.setattr(served.engine, "_last_size", 2)  # so that the batch waits for all of it
    asked = [{"history": HISTORY}, {"history": HISTORY, "system": "sasrec"}, {"history": [], "system": "sasrec"}]
    found = client.post(f"{RECOMMEND}/batch", json={"requests": asked}).json()["responses"]
    assert [entry["error"] and entry["error"]["code"] for entry in found] == [None, *["unknown_system"] * 2]
    assert sizes == [1]


def test_the_fallback_is_named_or_left_out(client: TestClient) -> None:
    popular = recommend(client, history=["nobody"], k=3)
    assert popular["fallback_used"]
    assert {(item["source"], item["score"]) for item in popular["items"]} == {("popular", None)}
    nothing = recommend(client, history=["nobody"], k=3, fallback="none")
    assert (nothing["items"], nothing["returned"], nothing["fallback_used"]) == ([], 0, False)
    assert ids(recommend(client, history=[], k=3)) == ids(popular)


@pytest.mark.parametrize("by", ["sid:1", "sid:2", "category", "brand"])
def test_no_group_fills_a_list(client: TestClient, run: Run, by: str) -> None:
    catalog, sids = run.artifacts.catalog, run.artifacts.sids
    found = recommend(client, k=6, diversity={"by": by, "max_per_group": 1})
    groups = []
    for item_id in ids(found):
        row = catalog.row_by_id[item_id]
        item = catalog[row]
        groups.append(
            {"category": item.categories[-1], "brand": item.brand}.get(by) or tuple(sids.codes_NL[row][: int(by[-1])])
        )
    assert len(set(groups)) == len(groups) == found["returned"] > 3
    assert ids(found)[0] == ids(recommend(client, k=1))[0]


def draw_query(random: np.random.Generator, run: Run) -> dict[str, Any]:
    """Return a query with filters of every kind."""
    catalog = run.artifacts.catalog

    def pick_items(most: int) -> list[str]:
        return [catalog.item_ids[row] for row in random.integers(0, len(catalog), random.integers(0, most + 1))]

    def pick_names() -> dict[str, list[str]]:
        item = catalog[int(random.integers(len(catalog)))]
        names = {"category": [str(random.choice(item.categories))], "brand": [str(item.brand)]}
        return {name: values for name, values in names.items() if random.random() < 0.3}

    asked: dict[str, Any] = {"include": pick_names(), "exclude": pick_names(), "deny_items": pick_items(9)}
    asked["exclude_seen"] = bool(random.integers(2))
    if random.random() < 0.3:
        asked["allow_items"] = pick_items(30)
    query: dict[str, Any] = {"history": pick_items(12), "k": int(random.choice([1, 5, 20])), "filter": asked}
    query["system"] = str(random.choice(["generator", "popularity", "counts"]))
    if random.random() < 0.2:
        query["diversity"] = {"by": str(random.choice(["sid:1", "category"])), "max_per_group": 2}
    if random.random() < 0.2:
        query |= {"history": None, "user_id": str(random.choice(run.artifacts.histories.user_ids))}
    return query


def find_leaks(query: dict[str, Any], found: dict[str, Any], run: Run, gone: Sequence[str]) -> list[str]:
    """Return the items of a list that its query forbids, or that are not on offer."""
    catalog, asked = run.artifacts.catalog, query["filter"]
    history = query["history"] if query["history"] is not None else run.user_history(query["user_id"])
    leaked = [item_id for item_id, times in Counter(ids(found)).items() if times > 1]
    narrowest = Counter(
        next(iter(catalog[catalog.row_by_id[item_id]].categories[-1:]), item_id) for item_id in ids(found)
    )
    if query.get("diversity", {}).get("by") == "category" and max(narrowest.values(), default=0) > 2:
        return ["category"]
    for item_id in ids(found):
        item = catalog[catalog.row_by_id[item_id]]
        names = {"category": set(item.categories), "brand": {item.brand}}
        forbidden = item_id in {*gone, *asked["deny_items"]} or (asked["exclude_seen"] and item_id in history)
        forbidden |= "allow_items" in asked and item_id not in asked["allow_items"]
        forbidden |= any(not names[field] & set(wanted) for field, wanted in asked["include"].items())
        forbidden |= any(names[field] & set(barred) for field, barred in asked["exclude"].items())
        leaked += [item_id] if forbidden else []
    return leaked


RANKED = 4
"""Requests of a batch that are asked for the order of candidates as well."""


@pytest.mark.parametrize("count", [320, pytest.param(10_016, marks=pytest.mark.long)])
def test_what_a_filter_forbids_never_comes(copied_run: Path, run: Run, count: int) -> None:
    random, returned, ranked = np.random.default_rng(count), 0, 0
    gone = [run.artifacts.catalog.item_ids[row] for row in random.permutation(len(run.artifacts.catalog))[:12]]
    withdraw_items(copied_run, gone[:6], free_sids=False)
    withdraw_items(copied_run, gone[6:], free_sids=True)
    with open_client(open_service([copied_run], KeyRing())) as client:
        for _ in range(count // LIMITS.batch):
            queries = [draw_query(random, run) for _ in range(LIMITS.batch)]
            response = client.post(f"{RECOMMEND}/batch", json={"requests": queries})
            for query, entry in zip(queries, response.json()["responses"], strict=True):
                assert entry["error"] is None, entry
                assert find_leaks(query, entry["ok"], run, gone) == []
                returned += entry["ok"]["returned"]
            for query in queries[:RANKED]:
                candidates = [*query["filter"]["deny_items"], *gone[:2], "stranger"]
                kept = {name: query[name] for name in ("history", "user_id", "system") if name in query}
                found = client.post("/v1/rank", json=kept | {"items": candidates}).json()
                assert set(ids(found)) == set(candidates) - {*gone, "stranger"}
                assert {one["item_id"] for one in found["missing_items"]} == {*gone, "stranger"} & set(candidates)
                ranked += found["returned"]
    assert returned > 3 * count
    assert ranked > count // LIMITS.batch * RANKED


def test_filters_by_name_are_rows_and_no_long_lists_of_ids(service: Service, run: Run) -> None:
    (served,) = service.runs.values()
    item = run.artifacts.catalog[0]
    asked = {"include": {"category": [item.categories[0]]}, "exclude": {"brand": [item.brand]}}
    query = RecommendationQuery.model_validate({"history": HISTORY, "filter": asked})
    plan = served.planner.plan_recommendation(query, served.run.current_recommender)
    assert (plan.requests[0].only, plan.requests[0].deny) == (None, ())
    (rows,) = plan.row_filters
    allowed = rows.is_allowed(np.arange(len(run.artifacts.catalog)))
    assert allowed.tolist() == [
        item.categories[0] in one.categories and one.brand != item.brand for one in run.artifacts.catalog
    ]


def test_a_batch_has_answers_and_errors_in_order(client: TestClient) -> None:
    queries: list[dict[str, Any]] = [
        {"history": HISTORY, "k": 2},
        {"history": HISTORY, "filter": {"include": {"category": ["Lamp"]}}},
        {"run": "nowhere"},
        {"history": HISTORY, "k": 3},
    ]
    found = client.post(f"{RECOMMEND}/batch", json={"requests": queries}).json()["responses"]
    assert [entry["error"] and entry["error"]["code"] for entry in found] == [
        None, "unknown_category", "unknown_run", None,
    ]  # fmt: skip
    assert ids(found[3]["ok"])[:2] == ids(found[0]["ok"]) == ids(recommend(client, k=2))
    assert found[0]["ok"]["request_id"].endswith("-0")


def test_candidates_are_ranked_by_their_exact_scores(client: TestClient, run: Run) -> None:
    items = run.artifacts.catalog.item_ids
    response = client.post("/v1/rank", json={"history": HISTORY, "items": [*items, "nobody", items[3]]})
    found = response.json()
    assert (found["returned"], found["missing_items"]) == (59, [{"item_id": "nobody", "reason": "unknown"}])
    recommender = run.current_recommender.sid_recommender
    prompt = recommender.build_prompt(np.array([run.artifacts.catalog.find_row(item) for item in HISTORY]))
    exact = compute_exact_scores(recommender.search, [prompt])[0][recommender.search.trie.node_of_item[-1]]
    for item in found["items"]:
        assert item["score"] == pytest.approx(exact[run.artifacts.catalog.row_by_id[item["item_id"]]], abs=1e-3)
    none = client.post("/v1/rank", json={"history": HISTORY, "items": ["nobody"]}).json()
    assert (none["items"], none["requested"]) == ([], 1)


def test_leaving_an_item_out_says_what_it_adds(client: TestClient, run: Run) -> None:
    item_id = run.artifacts.catalog.item_ids[30]
    found = client.post("/v1/explain", json={"history": HISTORY, "item_id": item_id}).json()
    assert found["kind"] == "counterfactual"
    assert found["score"] == pytest.approx(run.recommend(HISTORY, 1, only=[item_id], unseen=False)[0].score, abs=1e-3)
    for place, change in enumerate(found["changes"]):
        rest = HISTORY[:place] + HISTORY[place + 1 :]
        without = run.recommend(rest, 1, only=[item_id], unseen=False)[0].score
        assert (change["item_id"], change["position"]) == (HISTORY[place], place)
        assert change["score_without"] == pytest.approx(without, abs=1e-3)
        assert change["change"] == pytest.approx(found["score"] - change["score_without"])
    check_fault(client.post("/v1/explain", json={"history": HISTORY, "item_id": "nobody"}), 404, "unknown_item")


BAD_QUERIES: list[tuple[dict[str, Any], int, str]] = [
    ({"k": 0}, 422, "invalid_argument"),
    ({"k": 10**9}, 422, "invalid_argument"),
    ({"k": "3"}, 422, "invalid_argument"),
    ({"k": 3.5}, 422, "invalid_argument"),
    ({"k": True}, 422, "invalid_argument"),
    ({"k": None}, 422, "invalid_argument"),
    ({"history": "p0003"}, 422, "invalid_argument"),
    ({"history": [3]}, 422, "invalid_argument"),
    ({"history": [""]}, 422, "invalid_argument"),
    ({"history": ["x" * 257]}, 422, "invalid_argument"),
    ({"history": ["x"] * 501}, 422, "invalid_argument"),
    ({"history": {"a": 1}}, 422, "invalid_argument"),
    ({"filter": {"exclude_seen": 0}}, 422, "invalid_argument"),
    ({"filter": {"deny_items": ["x"] * 10_001}}, 422, "invalid_argument"),
    ({"filter": {"include": {"colour": ["red"]}}}, 422, "invalid_argument"),
    ({"filter": {"include": {"category": ["Lamp"]}}}, 404, "unknown_category"),
    ({"filter": {"exclude": {"brand": ["Lamp"]}}}, 404, "unknown_brand"),
    ({"diversity": {"by": "sid:0"}}, 422, "invalid_argument"),
    ({"run": "nowhere"}, 404, "unknown_run"),
    ({"run": "../../etc/passwd"}, 404, "unknown_run"),
    ({"system": "sasrec"}, 404, "unknown_system"),
    ({"system": "../model"}, 404, "unknown_system"),
    ({"beams": 3}, 422, "invalid_argument"),
    ({"request_id": "a\r\nSet-Cookie: b"}, 422, "invalid_argument"),
]


@pytest.mark.parametrize(("change", "status", "code"), BAD_QUERIES, ids=lambda given: str(given)[:60])
def test_bad_queries_have_one_shape(
    client: TestClient, run: Run, change: dict[str, Any], status: int, code: str
) -> None:
    response = client.post(RECOMMEND, json={"history": HISTORY} | change)
    check_fault(response, status, code)
    assert str(run.folder.parent) not in response.text


BAD_BODIES: list[tuple[bytes, str, int, str]] = [
    (b"{", "application/json", 400, "malformed_json"),
    (b"", "application/json", 422, "invalid_argument"),
    (b"null", "application/json", 422, "invalid_argument"),
    (b"[]", "application/json", 422, "invalid_argument"),
    (b'{"k": 1e999}', "application/json", 422, "invalid_argument"),
    (b'{"k": NaN}', "application/json", 422, "invalid_argument"),
    (b'{"k": 1' + b"0" * 5000 + b"}", "application/json", 400, "malformed_json"),
    (b'{"history": ["\\ud800"]}', "application/json", 422, "invalid_argument"),
    (b'{"history": ["\xff"]}', "application/json", 400, "malformed_json"),
    (b"[" * 100_000, "application/json", 400, "malformed_json"),
    (b'{"history": []}', "text/plain", 415, "unsupported_media_type"),
    (b'{"history": []}', "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    (b'{"history": ["' + b"x" * (1 << 20) + b'"]}', "application/json", 413, "body_too_large"),
]


@pytest.mark.parametrize(("body", "kind", "status", "code"), BAD_BODIES, ids=lambda given: str(given)[:30])
def test_bad_bodies_have_one_shape(client: TestClient, body: bytes, kind: str, status: int, code: str) -> None:
    check_fault(client.post(RECOMMEND, content=body, headers={"Content-Type": kind}), status, code)


def test_a_body_without_a_length_is_cut_off_too(client: TestClient) -> None:
    pieces = (b" " * 100_000 for _ in range(20))
    response = client.post(RECOMMEND, content=pieces, headers={"Content-Type": "application/json"})
    check_fault(response, 413, "body_too_large")


def test_whole_numbers_may_be_written_as_floats(client: TestClient) -> None:
    response = client.post(RECOMMEND, content=json.dumps({"history": HISTORY, "k": 3.0}), headers=JSON)
    assert response.json()["returned"] == 3


JSON = {"Content-Type": "application/json; charset=utf-8"}


def test_an_error_of_its_own_is_hidden(
    service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret of /home/somebody/trialigngr/run.py")

    (run,) = service.runs.values()
    monkeypatch.setattr(run.planner, "plan_recommendation", fail)
    capsys.readouterr()
    fault = check_fault(client.post(RECOMMEND, json={"history": HISTORY}), 500, "internal")
    assert "secret" not in fault["message"]
    batch = client.post(f"{RECOMMEND}/batch", json={"requests": [{}]}).json()
    assert batch["responses"][0]["error"]["code"] == "internal"
    page = client.get("/recommend")
    assert page.status_code == 500
    logged = capsys.readouterr().err
    for request_id in (fault["request_id"], batch["responses"][0]["error"]["request_id"], page.headers["x-request-id"]):
        assert f"request {request_id}: RuntimeError in {__file__}:" in logged
    assert "secret" not in logged


def test_an_error_of_its_own_ends_at_the_gate(
    service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError

    (run,) = service.runs.values()
    monkeypatch.setattr(run.planner, "plan_recommendation", fail)
    loud = TestClient(client.app, base_url="http://127.0.0.1")  # raises what uvicorn would log
    check_fault(loud.post(RECOMMEND, json={"history": HISTORY}), 500, "internal")


def test_overload_is_429_and_the_live_check_answers(
    service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = service.runs.values()
    answer, begun, goes_on = Recommender.recommend, threading.Event(), threading.Event()

    def wait_and_answer(self: Recommender, requests: Any, filters: Any) -> Any:
        begun.set()
        assert goes_on.wait(60)
        return answer(self, requests, filters)

    monkeypatch.setattr(Recommender, "recommend", wait_and_answer)
    monkeypatch.setattr(run.engine, "settings", QueueSettings(max_waiting=2))
    with ThreadPoolExecutor(2) as pool:
        taken = pool.submit(client.post, RECOMMEND, json={"history": HISTORY})
        assert begun.wait(60)
        batch = {"requests": [{}] * 3}  # more than may wait, and nothing waits
        waiting = pool.submit(client.post, f"{RECOMMEND}/batch", json=batch)
        while not run.engine.num_waiting:
            sleep(0.01)
        for path, body in ((RECOMMEND, {}), (f"{RECOMMEND}/batch", {"requests": [{}, {"run": "nowhere"}]})):
            response = client.post(path, json=body)
            assert check_fault(response, 429, "overloaded")["retryable"]
            assert response.headers["retry-after"] == "1"
        unread = client.post(RECOMMEND, content=b"{", headers={"Content-Type": "application/json"})
        check_fault(unread, 429, "overloaded")
        assert f'route="{RECOMMEND}",status="429"' in client.get("/metrics").text
        assert client.get("/health/live").json()["status"] == "ok"
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["reasons"]) == (503, [f"{run.name}: queue_full"])
        goes_on.set()
        assert taken.result().json()["returned"] == 10
        assert [entry["error"] for entry in waiting.result().json()["responses"]] == [None] * 3


def test_what_takes_too_long_is_504(service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = service.runs.values()
    monkeypatch.setattr(run.engine, "settings", QueueSettings(deadline_s=0))
    check_fault(client.post(RECOMMEND, json={}), 504, "deadline")
