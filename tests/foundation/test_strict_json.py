"""JSON of strangers: keys once, characters whole."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.foundation.strict_json import mend_text, parse_json

ANY = st.characters(categories=("Cs", "Lu", "So", "Zs", "Po"))


@given(st.recursive(st.text(ANY), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5))
def test_what_is_parsed_has_whole_characters_and_is_otherwise_the_same(body: object) -> None:
    text = json.dumps(body)
    parsed = parse_json(text)
    json.dumps(parsed, ensure_ascii=False).encode()
    if "\\ud" not in text:
        assert parsed == body


@pytest.mark.parametrize(
    ("text", "mended"),
    [("a\ud83d", "a\ufffd"), ("\ude00b", "\ufffdb"), ("\ud83d\ude00", "😀"), ("\udcff", "\ufffd"), ("é", "é")],
)
def test_half_characters(text: str, mended: str) -> None:
    assert mend_text(text) == mended
    assert parse_json(json.dumps(text)) == mended


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' more than once"), ("[NaN]", "NaN is no JSON"), ("{", "Exp")],
)
def test_what_is_no_json_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_json(text)


def test_constants_may_be_given_a_value() -> None:
    assert parse_json("[NaN]", constant=lambda _: None) == [None]
    assert math.isnan(parse_json("NaN", constant=float))
