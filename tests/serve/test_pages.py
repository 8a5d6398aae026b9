"""Pages hold what the API answers, as text that needs no script, and every link on them leads somewhere."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Iterator
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.testclient import TestClient

from tests.support.commands import trialigngr
from tests.support.runs import HISTORY
from tests.support.serving import ADMIN_KEY, AS_ADMIN, open_client
from trialigngr.pipeline.add_items import withdraw_items
from trialigngr.runs.run import Run
from trialigngr.serve.api_keys import KeyRing
from trialigngr.serve.pages import item_map
from trialigngr.serve.service import Service, open_service

KEY = "client-key-of-the-tests"
HOSTILE = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)> {{ 7*7 }}"
HISTORY_QUERY = urlencode([("h", item_id) for item_id in HISTORY])
PAGES = [
    "/",
    "/sids",
    "/sids?prefix=1,2",
    "/items",
    "/items?q=a&category=&brand=",
    f"/item?id={HISTORY[0]}",
    f"/item?id={HISTORY[0]}&space=sid",
    f"/item?id={HISTORY[0]}&space=together",
    "/recommend",
    f"/recommend?{HISTORY_QUERY}&k=5&by=sid:1&seen=keep&explain={HISTORY[0]}&q=a",
    "/compare",
    f"/compare?{HISTORY_QUERY}&q=a",
    "/map",
    "/map?draw=true&color=code",
]


def read(client: TestClient, path: str, status: int = 200) -> str:
    response = client.get(path)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    return str(response.text)


def links(html: str) -> set[str]:
    return {unescape(link) for link in re.findall(r'(?:href|src)="([^"]*)"', html)}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_needs_no_script_and_nothing_from_elsewhere(client: TestClient, path: str) -> None:
    html = read(client, path)
    assert html.count("<h1") == 1
    assert not re.search(r"<script(?![^>]*src=)|<style| style=| on\w+=|javascript:", html)
    assert all(link.startswith(("/", "#")) for link in links(html))
    assert re.search(r'<html lang="en">.*<main id="main">', html, re.DOTALL)
    assert re.findall(r' id="([^"]+)"', html) == list(dict.fromkeys(re.findall(r' id="([^"]+)"', html)))


def test_every_link_leads_somewhere(client: TestClient) -> None:
    found = {link for path in PAGES for link in links(read(client, path)) if link.startswith("/")}
    kinds = dict[str, list[str]]()
    for link in sorted(found):
        kinds.setdefault(re.sub(r"\d+|=[^&]*", "", link), []).append(link)
    for some in kinds.values():
        assert {client.get(link).status_code for link in some[:3]} == {200}, some[:3]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/item?id=nobody", 404, "unknown_item"),
        ("/item", 422, "invalid_argument"),
        ("/?run=nobody", 404, "unknown_run"),
        ("/sids?prefix=a", 422, "invalid_argument"),
        ("/recommend?k=0", 422, "invalid_argument"),
        ("/recommend?k=1000000000", 422, "invalid_argument"),
        ("/recommend?category=Nothing", 404, "unknown_category"),
        ("/recommend?system=../x", 404, "unknown_system"),
        (f"/recommend?h={HISTORY[0]}&explain=nobody", 404, "unknown_item"),
        ("/recommend?" + "&".join(["h=a"] * 501), 422, "invalid_argument"),
        ("/recommend?add=" + "a," * 501, 422, "invalid_argument"),
        ("/static/..%2Fapi.py", 404, None),
        ("/static/%2e%2e/api.py", 404, None),
        ("/static/explorer.css", 404, "not_found"),
    ],
)
def test_what_cannot_be_shown_is_told(client: TestClient, path: str, status: int, code: str | None) -> None:
    response = client.get(path)
    assert response.status_code == status
    assert not any(word in response.text for word in ("Traceback", "trialigngr/", ".py", "site-packages"))
    if code:
        assert code in read(client, path, status)


def shown_ids(html: str) -> list[str]:
    return re.findall(r'class="open" href="/item\?id=([^"&]+)"', html)


def test_recommendations_are_those_of_the_api(client: TestClient) -> None:
    html = read(client, f"/recommend?{HISTORY_QUERY}&k=7&deny=p0009&seen=keep&by=sid:1&most=2")
    words = shlex.split(unescape(re.findall(r'<pre id="curl"[^>]*>(.*?)</pre>', html, re.DOTALL)[0]))
    assert words[:3] == ["curl", "-s", "http://127.0.0.1/v1/recommendations"]
    body = json.loads(words[-1])
    assert body["history"] == HISTORY
    answer = client.post("/v1/recommendations", json=body).json()
    assert shown_ids(html) == [item["item_id"] for item in answer["items"]]
    assert answer["returned"] == 7


def test_a_history_is_built_by_links_and_by_pasting(client: TestClient) -> None:
    pasted = read(client, "/recommend?" + urlencode({"add": " ".join(HISTORY) + " ,nobody"}))
    assert "Not used: " in pasted
    assert shown_ids(pasted) == shown_ids(read(client, f"/recommend?{HISTORY_QUERY}"))
    first = read(client, f"/recommend?h={HISTORY[0]}&h={HISTORY[1]}")
    assert f"/recommend?h={HISTORY[1]}&h={HISTORY[0]}" in links(first)
    assert f"/recommend?h={HISTORY[0]}" in links(first)


def test_two_systems_are_compared_by_their_places(client: TestClient) -> None:
    html = read(client, f"/compare?{HISTORY_QUERY}&k=20&system_b=popularity")
    asked: dict[str, Any] = {"history": HISTORY, "k": 20, "include": []}
    lists = [
        [item["item_id"] for item in client.post("/v1/recommendations", json=asked | {"system": name}).json()["items"]]
        for name in ("generator", "popularity")
    ]
    same = sum(a == b for a, b in zip(*lists, strict=True))
    only = len(set(lists[0]) - set(lists[1]))
    assert html.count("same rank") == 2 * same
    assert html.count("only here") == 2 * only


def test_the_map_has_a_dot_for_each_item(client: TestClient, run: Run) -> None:
    assert read(client, "/map").count("<circle") == 0
    dots = re.findall(r'<a href="/item\?id=([^"]+)" tabindex="-1"><circle', read(client, "/map?draw=true"))
    assert sorted(dots) == sorted(run.artifacts.catalog.item_ids)


def test_nobody_waits_for_a_map(client: TestClient, service: Service) -> None:
    (run,) = service.runs.values()
    vars(run.index).pop("embedding_map", None)
    with item_map._DRAWING:
        assert "busy" in read(client, "/map?draw=true", 409)
    read(client, "/map?draw=true")


def test_what_is_withdrawn_stands_on_no_map(copied_run: Path) -> None:
    withdraw_items(copied_run, ["p0005"], free_sids=False)
    with open_client(open_service([copied_run], KeyRing())) as client:
        html = read(client, "/map?draw=true")
    assert html.count("<circle") > 50
    assert "/item?id=p0005" not in html


@pytest.mark.long
def test_text_of_the_catalogue_is_text(copied_run: Path) -> None:
    with open_client(open_service([copied_run], KeyRing((), (ADMIN_KEY,)))) as client:
        items = [{"item_id": f"x/{HOSTILE}", "title": HOSTILE, "brand": HOSTILE, "categories": [HOSTILE, HOSTILE]}]
        assert client.post("/v1/catalogue/append", json={"items": items}, headers=AS_ADMIN).status_code == 200
        item_id = urlencode({"id": f"x/{HOSTILE}"})
        card = client.get("/v1/items", params={"item_id": f"x/{HOSTILE}"}).json()["items"][0]
        for path in (
            f"/item?{item_id}",
            "/items?" + urlencode({"q": HOSTILE}),
            "/sids?prefix=" + ",".join(map(str, card["sid"])),
            "/recommend?" + urlencode({"h": f"x/{HOSTILE}", "q": HOSTILE, "deny": HOSTILE, "k": 50}),
            "/compare?" + urlencode({"h": HOSTILE}),
            "/map?draw=true",
        ):
            html = read(client, path)
            assert "&lt;script&gt;alert(1)" in html, path
            assert "<script>alert" not in html
            assert "onerror=alert(1)>" not in html
            assert "49" not in re.findall(r"onerror=alert\(1\)&gt; (\S+)", html)


@pytest.fixture(scope="module")
def guarded(tiny_run: Path) -> Iterator[TestClient]:
    with open_client(open_service([tiny_run], KeyRing((KEY,), (ADMIN_KEY,)))) as client:
        yield client


def test_a_browser_shows_a_key_as_a_password(guarded: TestClient) -> None:
    refused = guarded.get("/")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic ")
    for key, status in ((KEY, 200), (ADMIN_KEY, 200), (f"{KEY}x", 401)):
        shown = {"Authorization": "Basic " + base64.b64encode(f"me:{key}".encode()).decode()}
        assert guarded.get("/sids", headers=shown).status_code == status
    assert "$TRIALIGNGR_KEY" in guarded.get("/recommend", headers={"Authorization": f"Bearer {KEY}"}).text
    admin = {"Authorization": "Basic " + base64.b64encode(f"me:{ADMIN_KEY}".encode()).decode()}
    assert guarded.get("/v1/catalogue/versions", headers=admin).status_code == 403


def test_a_run_is_written_as_one_file(tiny_run: Path, tmp_path: Path, run: Run) -> None:
    whole, part = tmp_path / "whole.html", tmp_path / "part.html"
    items = run.artifacts.catalog
    assert f"{len(items)} of {len(items)} items" in trialigngr("explore", tiny_run, "--html", whole).out
    html = whole.read_text()
    assert all(f">{escape(item.title)}</h4>" in html for item in items)
    assert not re.search(r"https?://|<script|<link", html)
    assert all(link.startswith(("#item-", "data:image/webp;")) for link in links(html))
    assert "drawn at random" not in html
    assert trialigngr("explore", tiny_run, "--html", part, "--max-mb", "0.1").code == 0
    assert "drawn at random" in part.read_text()
    assert part.stat().st_size < whole.stat().st_size
    places = set(re.findall(r' id="(item-\d+)"', part.read_text()))
    assert {link[1:] for link in links(part.read_text()) if link.startswith("#item-")} <= places
    assert places
