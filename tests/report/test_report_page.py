"""The page as a file: it stands alone, it is inert, and it says what is missing."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import fields, is_dataclass, replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError
from PIL import Image

from trialigngr.report.page import DataCounts, ItemTile, PipelineStep, PromptSpan, ReportPage, TaskExample
from trialigngr.report.render import render_page, write_page

EVIL = (
    "</style></title>'\"><script>alert(1)</script><img src=x onerror=alert(1)> https://evil.example {{ 7 * 7 }} <a_5>"
)
ALLOWED = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "nav",
        "main",
        "section",
        "article",
        "footer",
        "figure",
        "figcaption",
    ),
    *(
        "h1",
        "h2",
        "h3",
        "h4",
        "p",
        "div",
        "span",
        "b",
        "small",
        "code",
        "a",
        "img",
        "ol",
        "ul",
        "li",
        "dl",
        "dt",
        "dd",
        "details",
        "summary",
    ),
    *("table", "caption", "thead", "tbody", "tr", "th", "td"),
    *("svg", "g", "defs", "marker", "path", "rect", "circle", "line", "polyline", "text", "tspan", "image"),
}


class Seen(HTMLParser):
    """Every element with its attributes, and all the text, as a browser would find them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, *names: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.elements for name in names if name in attributes]


def poisoned(value: Any, text: str) -> Any:
    """The same data with every free text made ``text``."""
    fixed = {"confidence", "number", "title"} if isinstance(value, TaskExample) else {"confidence"}
    if is_dataclass(value) and not isinstance(value, type):
        keep = fixed | ({"name"} if isinstance(value, PipelineStep) else set())
        return type(value)(
            **{
                f.name: getattr(value, f.name) if f.name in keep else poisoned(getattr(value, f.name), text)
                for f in fields(value)
            }
        )
    if isinstance(value, tuple):
        return tuple(poisoned(part, text) for part in value)
    if isinstance(value, dict):
        return {f"{text} {place}": poisoned(part, text) for place, part in enumerate(value.values())}
    return text if isinstance(value, str) else value


@pytest.fixture(scope="module")
def seen(page: ReportPage) -> Seen:
    return Seen(render_page(page))


def inert(seen: Seen) -> bool:
    links = seen.values("href", "src", "xlink:href", "action", "data", "poster", "srcset")
    names = {name for _, attributes in seen.elements for name in attributes}
    return (
        {tag for tag, _ in seen.elements} <= ALLOWED
        and all(link.startswith(("#", "data:image/webp;base64,")) for link in links)
        and not any(name.startswith("on") or name == "style" for name in names)
    )


def test_page_loads_nothing_and_runs_nothing(seen: Seen) -> None:
    assert inert(seen)
    assert len(seen.values("src")) > 100


def test_page_style_names_no_address(page: ReportPage) -> None:
    style = render_page(page).split("<style>")[1].split("</style>")[0]
    assert not re.search(r"url\(|@import|https?:", style)


def test_policy_admits_the_style_by_hash_and_no_other_source(page: ReportPage) -> None:
    html = render_page(page)
    style = html.split("<style>")[1].split("</style>")[0]
    policy = next(
        a["content"]
        for tag, a in Seen(html).elements
        if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    assert (
        policy == f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_hostile_text_in_every_field_comes_out_as_text(page: ReportPage) -> None:
    html = render_page(poisoned(page, EVIL))
    assert "<script" not in html
    seen = Seen(html)
    assert inert(seen)
    assert EVIL in seen.text
    assert "49" not in re.findall(r"evil\.example\s+(\S+)", seen.text)


def test_anchors_lead_to_sections(seen: Seen) -> None:
    ids = set(seen.values("id"))
    assert {link[1:] for tag, a in seen.elements if tag == "a" and (link := a["href"] or "")} <= ids


def test_only_marked_spans_become_chips(page: ReportPage) -> None:
    example = TaskExample(
        "T1", "title_to_sid", user=(PromptSpan("a mug <a_5>"), PromptSpan("<a_6>", is_special_token=True))
    )
    html = render_page(replace(page, task_examples=(example,), case_studies=()))
    chips = re.findall(r'<span class="token level-0">([^<]*)</span>', html)
    assert "&lt;a_6&gt;" in chips
    assert "&lt;a_5&gt;" not in chips
    assert "a mug &lt;a_5&gt;" in html


def test_page_tells_headline_people_and_stories(seen: Seen, page: ReportPage) -> None:
    assert "12.8 %" in seen.text
    assert "11.8 – 13.9 %" in seen.text
    assert "For 5 of these 10 shoppers" in seen.text
    assert "found at rank 3" in seen.text
    assert seen.text.count("took this") == 5
    assert "14 items before, the last 8 are shown" in seen.text
    assert page.case_studies[0].caption in seen.text
    assert "early stopping" not in seen.text
    assert "early_stopping.patience" in seen.text
    assert "Neighbours kept" in seen.text
    assert "62.0 %" in seen.text
    assert "3.0 %" in seen.text  # by chance
    assert "Taken in a row" in seen.text


def test_page_says_what_is_missing(bare: ReportPage) -> None:
    html = render_page(bare)
    text = Seen(html).text
    assert "this catalogue has no pictures, so no captions and no T7–T8" in text
    assert "Not in this run: this catalogue has no pictures" in text
    assert "The quality of the SIDs was not measured in this run." in text
    assert "This run has no training record." in text
    assert "<img" not in html
    assert "None" not in text


def test_empty_run_still_makes_a_page(page: ReportPage) -> None:
    text = Seen(render_page(ReportPage("An empty run", "trialigngr", "today", DataCounts(0, 0, 0, 0, 0), (), {}))).text
    assert "no test figures yet" in text
    assert "No shoppers were drawn" in text


def test_broken_pictures_are_left_out_and_counted(page: ReportPage, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff not a picture")
    story = replace(
        page.case_studies[0],
        item=ItemTile("A torn poster", broken),
        items_sharing_first_code=(ItemTile("Gone", tmp_path / "gone.png"),),
    )
    text = Seen(render_page(replace(page, case_studies=(story,)))).text
    assert "2 pictures could not be read and are shown as “no picture”." in text


def test_thumbnails_are_small_and_made_anew(page: ReportPage, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    exif = Image.Exif()
    exif[0x010E] = "a secret about the photographer"
    Image.new("RGB", (900, 400), "red").save(large, exif=exif)
    story = replace(page.case_studies[0], item=ItemTile("Large", large), items_sharing_first_code=())
    found = [
        value
        for value in Seen(render_page(replace(page, enrichment=None, example_users=(), case_studies=(story,)))).values(
            "src"
        )
        if value.startswith("data:")
    ]
    picture = Image.open(io.BytesIO(base64.b64decode(found[0].split(",")[1])))
    assert (picture.format, picture.size) == ("WEBP", (160, 71))
    assert not picture.getexif()


def test_page_is_written_whole_or_not_at_all(page: ReportPage, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    assert write_page(page, out) == out
    before = out.read_text(encoding="utf-8")
    with pytest.raises(UndefinedError):
        write_page(replace(page, example_users=(None,)), out)  # type: ignore[arg-type]
    assert out.read_text(encoding="utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert out.stat().st_size < 1_000_000


def test_title_with_a_lone_surrogate_does_not_lose_the_page(page: ReportPage) -> None:
    assert "broken ? title" in render_page(replace(page, title="broken \ud800 title"))
