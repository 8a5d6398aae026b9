"""The pages in a real browser that reaches this server and nothing else (`make test-browser`). The rules of axe are
tried too."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.testclient import httpx

from tests.support.runs import HISTORY
from tests.support.server_process import serve_run
from tests.support.serving import ADMIN_KEY, AS_ADMIN

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
pytestmark = [pytest.mark.long, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]
PATIENCE = 120_000
WIDTHS = {"wide": 1280, "narrow": 390}
HOSTILE = "</title><script>document.title = 'broken in'</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def address(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a run twice, the second under another name."""
    other = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("other") / "other"))
    with serve_run(tiny_run, other) as (_, address):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """Give a page that fails where anything is asked of another server, or the console says a word."""
    context = browser.new_context(
        viewport={"width": WIDTHS[request.param], "height": 900},
        color_scheme="dark" if request.param == "narrow" else "light",
        base_url=address,
    )
    context.set_default_timeout(PATIENCE)
    outside, said = list[str](), list[str]()

    def route(asked: Any) -> None:
        if asked.request.url.startswith(address):
            asked.continue_()
        else:
            outside.append(asked.request.url)
            asked.abort()

    context.route("**/*", route)
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    assert (outside, said) == ([], [])
    context.close()


def check_fits(page: Any) -> None:
    """Check that nothing reaches over the edge, and that axe, where it is installed, finds nothing."""
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        return
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found] == []


def test_from_the_tree_to_a_link_that_is_shared(page: Any, browser: Any) -> None:
    page.goto("/")
    check_fits(page)
    page.get_by_role("navigation").get_by_role("link", name="SIDs").click()
    check_fits(page)
    while page.locator(".branch a.open").count():
        page.locator(".branch a.open").first.click()
    check_fits(page)
    page.locator(".tile > a").first.click()
    title = page.get_by_role("heading", level=1).inner_text()
    check_fits(page)
    page.get_by_role("link", name="What comes after it?").click()
    assert title in page.locator(".history").inner_text()
    page.get_by_role("searchbox").press_sequentially(title.split()[-1][:4])
    page.locator("#candidates li").first.wait_for()  # without a click: the list follows what is typed
    page.locator("#candidates a").first.click()
    assert page.locator(".history li").count() == 2
    page.get_by_role("link", name=re.compile("^Why ")).first.click()
    page.get_by_text("counterfactual").wait_for()
    check_fits(page)
    page.get_by_role("link", name="Compare with another").click()
    assert page.locator(".columns > div").count() == 2
    check_fits(page)
    shared = page.url
    with browser.new_context(viewport=page.viewport_size) as stranger:
        again = stranger.new_page()
        again.goto(shared)
        assert again.locator("main").inner_text() == page.locator("main").inner_text()


def test_the_map_leads_to_items_and_comes_closer(page: Any) -> None:
    page.goto("/map")
    page.get_by_role("link", name="Draw the map").click()
    page.get_by_role("button", name="Closer").click()
    assert page.locator("svg.map").get_attribute("viewBox") == "150 150 700 700"
    check_fits(page)
    page.get_by_role("button", name="Whole").click()
    page.locator("svg.map circle").last.click()
    page.wait_for_url("**/item?id=*")


def test_all_can_be_read_and_done_without_scripts(browser: Any, address: str) -> None:
    with browser.new_context(java_script_enabled=False, base_url=address) as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto("/recommend")
        page.get_by_label("Paste ids").fill(", ".join(HISTORY))
        page.get_by_label("How many").fill("3")
        page.get_by_role("button", name="Recommend").click()
        assert page.locator(".suggested > li").count() == 3
        page.get_by_role("searchbox").fill("a")
        page.get_by_role("button", name="Find").click()
        before = page.locator(".history li").count()
        page.get_by_role("link", name=re.compile("^Add ")).first.click()
        assert page.locator(".history li").count() == before + 1
        page.goto("/map?draw=true")
        assert page.locator("svg.map circle").count() > 10


def test_the_keyboard_is_enough(page: Any) -> None:
    page.goto("/items")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.get_by_label("Words of the title").focus()
    page.keyboard.type("zzzz")
    page.get_by_text("No item is like this.").wait_for()
    page.get_by_label("Words of the title").fill("")
    page.keyboard.press("Enter")
    page.locator(".tile > a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/item?id=*")


def test_hostile_titles_are_text(browser: Any, copied_run: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{ADMIN_KEY}\n")
    items = [{"item_id": f"a/{HOSTILE}", "title": HOSTILE, "brand": HOSTILE, "categories": [HOSTILE]}]
    with serve_run(copied_run, "--admin-key-file", keys) as (_, address):
        added = httpx.post(
            f"{address}/v1/catalogue/append", json={"items": items}, headers=AS_ADMIN, timeout=PATIENCE / 1000
        )
        assert added.status_code == 200, added.text
        with browser.new_context(base_url=address) as context:
            context.set_default_timeout(PATIENCE)
            shown = context.new_page()
            shown.on("dialog", lambda dialog: pytest.fail(dialog.message))
            for path in ("/item", "/recommend"):
                shown.goto(f"{path}?{urlencode({'id': f'a/{HOSTILE}', 'h': f'a/{HOSTILE}'})}")
                assert "broken in" in shown.locator("main").inner_text()
                assert shown.locator("main script, main img[onerror]").count() == 0
            assert shown.title().startswith("Recommend")
