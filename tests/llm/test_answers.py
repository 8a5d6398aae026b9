from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.enrich.parsing import Tag, check_script, is_generic, parse_interests, parse_tags, parse_text
from trialigngr.llm.answers import ResponseError, trim_to_sentences


def answer(*tags: Any, lifestyle: Any = "slow mornings") -> str:
    rows = [{"tag": tag, "confidence": "high"} if isinstance(tag, str) else tag for tag in tags]
    return json.dumps({"interests": rows, "lifestyle": lifestyle})


def test_what_was_asked_for() -> None:
    given_ = answer("home barista", {"tag": "early riser", "confidence": " Medium "})
    wanted = ([Tag("home barista", "high"), Tag("early riser", "medium")], "slow mornings")
    assert parse_interests(given_) == wanted
    assert parse_interests(f"```json\n{given_}\n```") == wanted
    assert parse_interests(answer("a b", "c d", lifestyle=None))[1] is None


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ("home barista; early riser", "not one JSON object"),
        (answer("home barista", "early riser") + " Enjoy!", "not one JSON object"),
        ("[1, 2]", "not one JSON object"),
        ("[" * 40_000, "not one JSON object"),
        ("x" * 60_000, "far too long"),
        ('{"interests": "home barista"}', "must be a list"),
        (answer("home barista"), "2 to 4"),
        (answer("home barista", "Home Barista"), "2 to 4"),
        (answer("home barista", "Product", "quality items"), "2 to 4"),
        (answer("home barista", {"tag": "early riser", "confidence": "sure"}), "high, medium or low"),
        (answer("home barista", {"tag": "early riser"}), "high, medium or low"),
        (answer("home barista", {"tag": 7, "confidence": "low"}), "must be text"),
        (answer("home barista", "🎉🎉"), "must have letters"),
        (answer("home barista", "one two three four five six seven"), "at most 6 words"),
        (answer("home barista", "x" * 61), "at most 6 words"),
    ],
)
def test_anything_else_is_refused_with_a_reason(given_: str, said: str) -> None:
    with pytest.raises(ResponseError, match=said):
        parse_interests(given_)


def test_of_too_many_the_first_are_kept_and_tags_are_cleaned() -> None:
    tags, lifestyle = parse_interests(answer("a\nb ☕", "<b>c</b> d", "e; f", '"g."', "h", lifestyle="calm\u202e days"))
    assert [tag.tag for tag in tags] == ["a b", "c d", "e, f", "g"]
    assert lifestyle == "calm days"


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ("I ❤️ tea", "I tea"),
        ("1️⃣ fan", "1 fan"),
        ("<<b>script> x", "x"),
        ("&amp;lt;b&amp;gt;x", "x"),
        ("&amp;amp;lt;<b>b&gt;x", "x"),
        ("< tea > time <3", "time 3"),
        ("R&B fan", "R&B fan"),
        ("café goer", "café goer"),
    ],
)
def test_no_frame_of_a_picture_and_no_markup_is_left_in_a_tag(given_: str, kept: str) -> None:
    assert parse_tags(json.dumps({"tags": [given_]})) == [kept]


def test_an_answer_that_was_cut_ends_with_a_whole_sentence() -> None:
    assert trim_to_sentences("A mug. It is 3.5 inches tall! The han") == "A mug. It is 3.5 inches tall!"
    assert trim_to_sentences("A mug.\nIt is") == "A mug."
    for whole in ("A mug. It is white.", "A white mug wi", "A mug of 3.5", ""):
        assert trim_to_sentences(whole) == whole
    for body in (answer("a b", "c d", lifestyle="St. Ives days"), f"```json\n{answer('a. b', 'c')}\n```"):
        assert trim_to_sentences(body) == body
        assert trim_to_sentences(body[:-5]) == body[:-5]


def test_plain_tags_and_text() -> None:
    assert parse_tags('{"tags": ["mug", "Mug", "cup"]}') == ["Mug", "cup"]
    with pytest.raises(ResponseError):
        parse_tags('{"tags": []}')
    assert parse_text("A white\n mug.<br> &amp; a <|im_end|> cup", 100) == "A white mug. & a cup"
    assert parse_text("One. Two is longer. Three", 15) == "One."
    assert parse_text("no sentence ends here", 12) == "no sentence"
    with pytest.raises(ResponseError, match="no words"):
        parse_text(" ... 12 🎉", 100)


def test_another_script_is_refused_unless_any_is_taken() -> None:
    check_script(["café mug"], "latin")
    check_script(["любитель чая"], "cyrillic")
    check_script(["любитель чая"], "any")
    with pytest.raises(ResponseError, match="latin"):
        check_script(["любитель чая"], "latin")


def test_generic_words_alone_say_nothing() -> None:
    assert is_generic("Everyday products")
    assert is_generic("")
    assert not is_generic("gift wrapper")


NESTED = st.recursive(
    st.none() | st.text(max_size=9), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner)
)


@given(st.text(max_size=300) | NESTED.map(json.dumps))
def test_no_answer_breaks_the_parsers(text: str) -> None:
    for parse in (parse_interests, parse_tags, lambda answer: parse_text(answer, 50)):
        with contextlib.suppress(ResponseError):
            parse(text)


@given(st.lists(st.text(min_size=1, max_size=30), min_size=2, max_size=6))
def test_every_tag_that_passes_is_one_line_without_markup(texts: list[str]) -> None:
    try:
        tags, _ = parse_interests(answer(*texts))
    except ResponseError:
        return
    assert 2 <= len(tags) <= 4
    for tag in tags:
        assert tag.tag == " ".join(tag.tag.split())
        assert ";" not in tag.tag
        assert tag.tag.isprintable()
        assert not {"<", ">"} & set(tag.tag)
