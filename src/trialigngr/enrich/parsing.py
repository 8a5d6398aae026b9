"""What a language model answered, parsed strictly: anything that is not what was asked for is a problem, in words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from html import unescape
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter

from trialigngr.llm.answers import MAX_CHARACTERS, SENTENCES, ResponseError

MAX_TAG_CHARACTERS, MAX_TAG_WORDS = 60, 6
Confidence = Literal["high", "medium", "low"]
CONFIDENCES: tuple[Confidence, ...] = ("high", "medium", "low")
GENERIC_WORDS = frozenset((files("trialigngr.enrich") / "generic_words.txt").read_text("utf-8").split())
"""Words that fit every item; a tag made of these alone says nothing."""
_LIST_PROBLEM = '"interests" must be a list of objects with "tag" and "confidence"'
_JSON_ADAPTER = TypeAdapter[Any](Any)
"""Reads any JSON, in half of the standard library's time."""
_CODE_FENCE = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.DOTALL)
_MARKUP = re.compile(r"<[^<>]{0,200}>")
MAX_UNESCAPE_PASSES = 8
"""How often entities and tags are looked for in what entities and tags left behind."""
# A semicolon stands between tags in an item's text, so none may stand within one.
_TAG_REPLACEMENTS = {";": ",", "<": " ", ">": " "}


class Tag(NamedTuple):
    """One interest, and how sure the generator is of it."""

    tag: str
    confidence: Confidence


def parse_interests(answer: str, min_tags: int = 2, max_tags: int = 4) -> tuple[list[Tag], str | None]:
    """Return the tags, the surest first as given, and the lifestyle; raise `ResponseError` for any other answer.

    Generic and doubled tags are refused; of too many, the first are kept.
    """
    body = _parse_json_object(answer)
    given = body.get("interests")
    if not isinstance(given, list):
        raise ResponseError(_LIST_PROBLEM)
    tags: dict[str, Tag] = {}
    for row in given[: 2 * max_tags]:
        if not isinstance(row, dict):
            raise ResponseError(_LIST_PROBLEM)
        confidence = row.get("confidence")
        read = _parse_interest(_require_text(row.get("tag")), confidence if isinstance(confidence, str) else "")
        if read is not None:
            tags.setdefault(read.tag.casefold(), read)
    if len(tags) < min_tags:
        raise ResponseError(f"{min_tags} to {max_tags} specific, different tags are needed")
    return list(tags.values())[:max_tags], _parse_tag(body["lifestyle"]) if body.get("lifestyle") else None


def parse_tags(answer: str, min_tags: int = 1, max_tags: int = 8) -> list[str]:
    """Return the plain tags of an answer ``{"tags": […]}``; raise `ResponseError` for any other."""
    given = _parse_json_object(answer).get("tags")
    if not isinstance(given, list):
        raise ResponseError('"tags" must be a list of words')
    tags = list({tag.casefold(): tag for tag in map(_parse_tag, given[: 2 * max_tags])}.values())
    if len(tags) < min_tags:
        raise ResponseError(f"{min_tags} to {max_tags} tags are needed")
    return tags[:max_tags]


def parse_text(answer: str, max_characters: int) -> str:
    """Return running text on one line, without markup, of at most ``max_characters`` characters: whole sentences if it
    can be.

    Raises `ResponseError` when nothing is left.
    """
    _check_length(answer)
    text = _to_plain_line(answer)
    if not any(letter.isalpha() for letter in text):
        raise ResponseError("the answer holds no words")
    if len(text) <= max_characters:
        return text
    cut, whole = text[:max_characters], SENTENCES.match(text[: max_characters + 1])
    return whole[0] if whole else cut.rpartition(" ")[0] or cut


def check_script(texts: Sequence[str], script: str) -> None:
    """Raise `ResponseError` when most letters are not of the script ("latin", "cyrillic", …; "any" takes all)."""
    letters = [letter for text in texts for letter in text if letter.isalpha()]
    of_it = sum(unicodedata.name(letter, "").startswith(script.upper()) for letter in letters)
    if script != "any" and 2 * of_it < len(letters):
        raise ResponseError(f"the answer must be written in {script} letters")


@lru_cache(8192)
def is_generic(tag: str) -> bool:
    """Return whether every word of the tag fits any item."""
    words = re.findall(r"\w+", tag.casefold())
    return all(word in GENERIC_WORDS for word in words)


def _parse_json_object(answer: str) -> dict[str, Any]:
    _check_length(answer)
    fenced = _CODE_FENCE.match(answer.strip()) if "```" in answer else None
    try:
        body = _JSON_ADAPTER.validate_json(fenced[1] if fenced else answer)
    except ValueError:
        raise ResponseError("the answer is not one JSON object") from None
    if not isinstance(body, dict):
        raise ResponseError("the answer is not one JSON object")
    return body


def _check_length(answer: str) -> None:
    if len(answer) > MAX_CHARACTERS:
        raise ResponseError("the answer is far too long")


def _to_plain_line(text: str) -> str:
    """Return the text on one line, entities resolved, without tags, control characters and chat markers."""
    bare = _strip_markup(text) if "<" in text or "&" in text else text
    if not bare.isprintable():
        bare = "".join(letter if unicodedata.category(letter)[0] not in "CZ" else " " for letter in bare)
    return " ".join(bare.split())


def _strip_markup(text: str) -> str:
    for _ in range(MAX_UNESCAPE_PASSES):
        before, text = text, _MARKUP.sub(" ", unescape(text))
        if text == before:
            break
    return text


def _require_text(value: object) -> str:
    if not isinstance(value, str):
        raise ResponseError("a tag must be text")
    return value


def _parse_tag(value: object) -> str:
    return _clean_tag(_require_text(value))


@lru_cache(8192)
def _parse_interest(tag: str, confidence: str) -> Tag | None:
    """Return an interest, cleaned; None for a generic one."""
    word, name = confidence.strip().casefold(), _clean_tag(tag)
    for known in CONFIDENCES:
        if word == known:
            return None if is_generic(name) else Tag(name, known)
    raise ResponseError('each "confidence" must be high, medium or low')


# Few tags are said of many items.
@lru_cache(8192)
def _clean_tag(value: str) -> str:
    text = _to_plain_line(value)
    if not text.isascii():
        text = "".join(map(_replace_symbol, text))
    for mark, instead in _TAG_REPLACEMENTS.items():
        text = text.replace(mark, instead)
    tag = " ".join(text.split()).strip(" .,\"'`")
    if not any(letter.isalpha() for letter in tag):
        raise ResponseError("a tag must have letters")
    if len(tag) > MAX_TAG_CHARACTERS or len(tag.split()) > MAX_TAG_WORDS:
        raise ResponseError(f"a tag has at most {MAX_TAG_WORDS} words and {MAX_TAG_CHARACTERS} letters")
    return tag


def _replace_symbol(letter: str) -> str:
    """Return the letter; a space for a picture of one, nothing for what only frames or colours the picture before."""
    kind = unicodedata.category(letter)
    if kind == "Me" or "\ufe00" <= letter <= "\ufe0f":
        return ""
    return letter if kind not in ("So", "Sk", "Cs") else " "
