"""Items, neighbours, pictures, the SID tree, runs, chat clients and what those who run the service ask."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.support.runs import HISTORY
from tests.support.serving import check_fault, open_client
from trialigngr.runs.run import Run
from trialigngr.runs.snapshot import CatalogSnapshot
from trialigngr.serve import item_pages
from trialigngr.serve.api_keys import KeyRing
from trialigngr.serve.item_pages import describe_detail, describe_page, describe_sid_node, find_neighbours
from trialigngr.serve.limits import LIMITS
from trialigngr.serve.pages.item_map import draw_map
from trialigngr.serve.pages.shown_lists import describe_items
from trialigngr.serve.served_run import ServedRun
from trialigngr.serve.service import Service, open_service
from trialigngr.sids.semantic_ids import parse_sid


def get(client: TestClient, path: str, **asked: Any) -> dict[str, Any]:
    response = client.get(path, params=asked)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def ids(found: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in found["items"]]


def test_pages_of_items_hold_each_once(client: TestClient, run: Run) -> None:
    found, cursor = list[str](), 0
    while cursor is not None:
        page = get(client, "/v1/items", cursor=cursor, limit=25)
        found, cursor = found + ids(page), page["next_cursor"]
    assert found == run.artifacts.catalog.item_ids


def test_items_are_found_by_what_they_are(client: TestClient, run: Run) -> None:
    catalog, sids = run.artifacts.catalog, run.artifacts.sids
    item = catalog[7]
    word = str(item.title).split()[1].upper()
    everything: dict[str, Any] = {"limit": LIMITS.page}
    titled = [one.item_id for one in catalog if word.lower() in str(one.title).lower()]
    assert ids(get(client, "/v1/items", q=word, **everything)) == titled
    assert ids(get(client, "/v1/items", q="(.*", **everything)) == []
    category, brand = item.categories[-1], item.brand
    found = ids(get(client, "/v1/items", category=category, brand=brand, **everything))
    assert found == [one.item_id for one in catalog if category in one.categories and one.brand == brand]
    prefix = sids.codes_NL[7, :2].tolist()
    below = [sids.item_ids[row] for row in np.flatnonzero((sids.codes_NL[:, :2] == prefix).all(1))]
    text = ",".join(map(str, prefix))
    assert ids(get(client, "/v1/items", sid=text, **everything)) == below
    assert ids(get(client, f"/v1/sids/{text}", **everything)) == below
    assert ids(get(client, "/v1/items", item_id=item.item_id)) == [item.item_id]
    assert ids(get(client, "/v1/items", item_id="a/b")) == []


def test_an_item_tells_all_that_the_run_knows(client: TestClient, run: Run) -> None:
    found, artifacts = get(client, "/v1/items/p0003"), run.artifacts
    row = artifacts.catalog.find_row("p0003")
    assert found["caption"] == artifacts.captions[row]
    assert [tag["tag"] for tag in found["interests"]] == artifacts.interest_tags[row]
    assert found["sid"] == artifacts.sids.codes_NL[row].tolist()
    assert found["popularity"] == int((artifacts.histories.items == row).sum())
    assert found["same_sid"] == []
    assert not found["withdrawn"]
    assert found["metadata"]["title"] == artifacts.catalog[row].title


@pytest.mark.parametrize(
    "item_id", ["nobody", "a%2Fb", "a/b/c", "%00", "%0A", "a%0Ab%0A", "ü", "%F0%9F%98%80", "x" * 256]
)
@pytest.mark.parametrize("what", ["", "/neighbours", "/image"])
def test_unknown_ids_of_any_letters_are_404(client: TestClient, item_id: str, what: str) -> None:
    check_fault(client.get(f"/v1/items/{item_id}{what}"), 404, "unknown_item")


def test_what_is_shown_is_of_one_moment(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = service.runs.values()
    reads = list[int]()

    def read_snapshot(self: ServedRun) -> CatalogSnapshot:
        reads.append(1)
        return self.run.catalog_snapshot

    monkeypatch.setattr(ServedRun, "snapshot", property(read_snapshot))
    shown = (
        lambda: describe_page(run, None, (), {}, 0, 3),
        lambda: describe_detail(run, "p0003"),
        lambda: find_neighbours(run, "p0003", "sid", 3),
        lambda: describe_sid_node(run, (), 0, 3),
        lambda: describe_items(run, ["p0003"]),
        lambda: draw_map(run, "category"),
    )
    for describe in shown:
        reads.clear()
        describe()
        assert len(reads) == 1


def test_pictures_are_small_and_only_of_items(client: TestClient) -> None:
    place = get(client, "/v1/items/p0003")["image_url"]
    for size in (64, 256):
        response = client.get(place, params={"size": size})
        assert response.headers["content-type"] == "image/jpeg"
        assert response.headers["x-content-type-options"] == "nosniff"
        with Image.open(io.BytesIO(response.content)) as image:
            assert max(image.size) <= size
    check_fault(client.get("/v1/items/p0003/image?size=77"), 422, "invalid_argument")


def test_a_picture_is_shrunk_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    shrunk, shrink = list[int](), item_pages.decode_image

    def count(path: Path, longest_edge: int) -> Image.Image:
        shrunk.append(longest_edge)
        return shrink(path, longest_edge)

    monkeypatch.setattr(item_pages, "decode_image", count)
    item_pages._shrink_picture.cache_clear()
    first, again = (client.get("/v1/items/p0007/image?size=64") for _ in range(2))
    assert first.content == again.content
    assert shrunk == [64]


def test_neighbours_in_three_spaces(client: TestClient, run: Run) -> None:
    histories, row = run.artifacts.histories, run.artifacts.catalog.find_row("p0003")
    for space in ("embedding", "sid", "together"):
        found = get(client, "/v1/items/p0003/neighbours", space=space, k=5)["neighbours"]
        assert "p0003" not in [one["item_id"] for one in found]
        assert [one["value"] for one in found] == sorted((one["value"] for one in found), reverse=True)
    together = Counter(
        int(other)
        for user in range(len(histories))
        if row in histories.user_sequence(user)
        for other in set(histories.user_sequence(user).tolist())
    )
    first = found[0]
    del together[row]
    assert first["value"] == together.most_common(1)[0][1] == together[run.artifacts.catalog.find_row(first["item_id"])]


def test_the_sid_tree_counts_every_item_once(client: TestClient, run: Run) -> None:
    codes_NL = run.artifacts.sids.codes_NL
    top = get(client, "/v1/sids", limit=3)
    assert top["num_items"] == len(codes_NL)
    children = list(top["children"])
    while top["next_cursor"] is not None:
        top = get(client, "/v1/sids", cursor=top["next_cursor"], limit=3)
        children += top["children"]
    assert {child["code"]: child["num_items"] for child in children} == Counter(codes_NL[:, 0].tolist())
    assert all(child["examples"] and child["top_categories"] for child in children)
    below = get(client, "/v1/sids", prefix=children[0]["code"])
    assert sum(child["num_items"] for child in below["children"]) == below["num_items"] == children[0]["num_items"]
    for child in (*children, *below["children"]):
        page = get(client, f"/v1/sids/{child['sid']}", limit=100)["items"]
        assert len(page) == child["num_items"]
        assert {item["sid"][len(child["sid"].split(",")) - 1] for item in page} == {child["code"]}
    leaf = ",".join(map(str, codes_NL[0]))
    assert (get(client, "/v1/sids", prefix=leaf)["children"], get(client, "/v1/sids", prefix="99")["num_items"]) == (
        [],
        0,
    )
    check_fault(client.get("/v1/sids/abc"), 422, "invalid_argument")
    assert get(client, "/v1/sids", prefix="1,2,3,4,5,6")["num_items"] == 0


def test_runs_and_their_figures(client: TestClient, run: Run) -> None:
    (found,) = get(client, "/v1/runs")["runs"]
    assert (found["num_items"], found["codebook_sizes"]) == (59, [8, 8, 8])
    assert found["systems"] == ["generator", "generator_alone", "popularity", "counts"]
    name = run.folder.name
    both = get(client, "/v1/compare", a=name, b=name)
    assert both["a"] == both["b"]
    assert both["a"]["figures"]["HR@10"] == run.metrics["test"]["HR@10"]
    assert both["protocol_differences"] == []
    check_fault(client.get("/v1/compare", params={"a": name, "b": "x"}), 404, "unknown_run")


def test_what_was_not_evaluated_is_no_damage(copied_run: Path) -> None:
    (copied_run / "metrics.json").unlink()
    with open_client(open_service([copied_run], KeyRing())) as client:
        check_fault(client.get("/v1/compare", params={"a": "run", "b": "run"}), 409, "conflict")


@pytest.mark.parametrize("write", [",".join, json.dumps, "\n".join, "sids"])
def test_chat_clients_get_sids_and_items(client: TestClient, run: Run, write: Any) -> None:
    sids, rows = run.artifacts.sids, run.artifacts.catalog.row_by_id
    text = "Bought: " + "".join(sids.sid_text(rows[one]) for one in HISTORY) if write == "sids" else write(HISTORY)
    asked = {"model": run.folder.name, "n": 4, "temperature": 0, "messages": [{"role": "user", "content": text}]}
    found = client.post("/v1/chat/completions", json=asked).json()
    expected = run.recommend(HISTORY, 4)
    assert [item["item_id"] for item in found["items"]] == [item.item_id for item in expected]
    assert [choice["message"]["content"] for choice in found["choices"]] == [item.sid for item in expected]
    assert [choice["sglext"]["sequence_score"] for choice in found["choices"]] == [item.score for item in expected]
    assert all(parse_sid(choice["message"]["content"]) for choice in found["choices"])
    streamed = client.post("/v1/chat/completions", json=asked | {"stream": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    chunk, done = [line.removeprefix("data: ") for line in streamed.text.split("\n\n") if line]
    assert done == "[DONE]"
    assert [choice["delta"] for choice in json.loads(chunk)["choices"]] == [one["message"] for one in found["choices"]]


@pytest.mark.parametrize(
    ("text", "dropped"),
    [
        ("", []),
        ("<a_9999><b_1>", ["<a_9999><b_1>"]),
        ("nobody", ["nobody"]),
        ("[1, 2]", ["[1", "2]"]),
        ("[" * 9999, None),
        ("\ud800", None),
        ('["a\\ud800"]', None),
    ],
)
def test_chat_that_names_no_item(client: TestClient, text: str, dropped: list[str] | None) -> None:
    asked = json.dumps({"messages": [{"role": "user", "content": text}], "n": 1})
    response = client.post("/v1/chat/completions", content=asked, headers={"Content-Type": "application/json"})
    if dropped is None:
        check_fault(response, 422, "invalid_argument")
    else:
        assert [one["item_id"] for one in response.json()["history_dropped"]] == dropped


def test_the_client_of_openai_works(client: TestClient, run: Run) -> None:
    from openai import OpenAI
    from starlette.testclient import httpx

    transport = httpx.MockTransport(lambda request: forward(client, request))
    official = OpenAI(
        base_url="http://127.0.0.1/v1", api_key="none", http_client=httpx.Client(transport=transport), max_retries=0
    )
    assert [model.id for model in official.models.list()] == [run.folder.name]
    found = official.chat.completions.create(
        model=run.folder.name, messages=[{"role": "user", "content": " ".join(HISTORY)}], n=3
    )
    assert [choice.message.content for choice in found.choices] == [item.sid for item in run.recommend(HISTORY, 3)]


def forward(client: TestClient, request: Any) -> Any:
    headers = {"content-type": request.headers.get("content-type", "")}
    answer = client.request(request.method, request.url.raw_path.decode(), content=request.read(), headers=headers)
    return type(answer)(answer.status_code, content=answer.content, headers={"content-type": "application/json"})


def test_the_service_says_what_it_allows_and_counts(client: TestClient, run: Run) -> None:
    info = get(client, "/v1/info")
    assert info["limits"] == vars(LIMITS)
    assert (info["runs"], info["keys_needed"], info["admin"], info["events"]) == ([run.folder.name], False, False, True)
    assert get(client, "/health/ready") == {"status": "ok", "reasons": []}
    client.get("/v1/items/secret-item")
    client.get("/secret-path")
    text = client.get("/metrics").text
    assert 'route="/v1/items/{item_id:any}"' in text
    assert 'route="unmatched"' in text
    assert "secret" not in text


def test_the_description_has_the_limits(client: TestClient) -> None:
    models = get(client, "/openapi.json")["components"]["schemas"]
    for model, field in (("RecommendationQuery", "k"), ("ChatQuery", "n"), ("DiversityCap", "max_per_group")):
        found = models[model]["properties"][field]
        assert (found["type"], found["minimum"], found["maximum"]) == ("integer", 1, LIMITS.k)
    assert models["RecommendationQuery"]["properties"]["history"]["anyOf"][0]["maxItems"] == LIMITS.history


def test_headers_keep_answers_to_one_person(client: TestClient) -> None:
    response = client.get("/v1/info", headers={"X-Request-ID": "mine-1"})
    assert response.headers["x-request-id"] == "mine-1"
    assert response.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    odd = client.get("/v1/info", headers={"X-Request-ID": "a b<script>"})
    assert odd.headers["x-request-id"].isalnum()


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/v1", "/v1/nothing"])
def test_no_pages_from_elsewhere(client: TestClient, path: str) -> None:
    check_fault(client.get(path), 404, "not_found")


def test_other_methods_and_hosts_are_refused(client: TestClient) -> None:
    response = client.delete("/v1/recommendations")
    check_fault(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    check_fault(client.get("/v1/info", headers={"Host": "evil.example"}), 400, "invalid_host")
    assert client.get("/v1/info", headers={"Host": "localhost:8080"}).status_code == 200


def test_pages_of_other_sites_may_lead_here_and_not_ask(client: TestClient) -> None:
    image = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    for path in ("/recommend", "/v1/items/p0003/image", "/map?draw=true"):
        check_fault(client.get(path, headers=image), 403, "cross_site")
    assert client.get("/recommend", headers=image | {"Sec-Fetch-Mode": "navigate"}).status_code == 200
    assert client.get("/v1/items/p0003/image", headers=image | {"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_events_are_written_once(client: TestClient) -> None:
    event = {"event_id": "e1", "type": "click", "item_ids": ["p0003"], "timestamp": 1.5, "recommendation_id": "r"}
    two = client.post("/v1/events", json={"events": [event, event | {"event_id": "e2"}]})
    assert (two.status_code, two.json()) == (202, {"accepted": 2, "duplicates": 0})
    again = client.post("/v1/events", json={"events": [event, event | {"event_id": "e3"}]})
    assert again.json() == {"accepted": 1, "duplicates": 1}
    for wrong in ({"type": "stare"}, {"item_ids": []}, {"timestamp": "now"}, {"more": 1}):
        check_fault(client.post("/v1/events", json={"events": [event | wrong]}), 422, "invalid_argument")
    check_fault(client.post("/v1/events", json={"events": [event] * 101}), 422, "invalid_argument")
