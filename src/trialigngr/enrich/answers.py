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

from trialigngr.llm.answers import MOST_CHARACTERS, SENTENCES, AnswerError

TAG_CHARACTERS, TAG_WORDS = 60, 6
Confidence = Literal["high", "medium", "low"]
CONFIDENCES: tuple[Confidence, ...] = ("high", "medium", "low")
GENERIC = frozenset((files("trialigngr.enrich") / "generic_words.txt").read_text("utf-8").split())
"""Words that fit every item; a tag made of these alone says nothing."""
_LIST = '"interests" must be a list of objects with "tag" and "confidence"'
_JSON = TypeAdapter[Any](Any)
"""Reads any JSON, in half of the standard library's time."""
_FENCE = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.DOTALL)
_MARKUP = re.compile(r"<[^<>]{0,200}>")
LAYERS = 8
"""How often entities and tags are looked for in what entities and tags left behind."""
# A semicolon stands between tags in an item's text, so none may stand within one.
_IN_A_TAG = {";": ",", "<": " ", ">": " "}


class Tag(NamedTuple):
    """One interest, and how sure the generator is of it."""

    tag: str
    confidence: Confidence


def parse_interests(answer: str, fewest: int = 2, most: int = 4) -> tuple[list[Tag], str | None]:
    """Return the tags, the surest first as given, and the lifestyle; raise `AnswerError` for any other answer.

    Generic and doubled tags are refused; of too many, the first are kept.
    """
    body = _json_object(answer)
    given = body.get("interests")
    if not isinstance(given, list):
        raise AnswerError(_LIST)
    kept: dict[str, Tag] = {}
    for one in given[: 2 * most]:
        if not isinstance(one, dict):
            raise AnswerError(_LIST)
        confidence = one.get("confidence")
        read = _interest(_text(one.get("tag")), confidence if isinstance(confidence, str) else "")
        if read is not None:
            kept.setdefault(read.tag.casefold(), read)
    if len(kept) < fewest:
        raise AnswerError(f"{fewest} to {most} specific, different tags are needed")
    return list(kept.values())[:most], _tag(body["lifestyle"]) if body.get("lifestyle") else None


def parse_tags(answer: str, fewest: int = 1, most: int = 8) -> list[str]:
    """Return the plain tags of an answer ``{"tags": […]}``; raise `AnswerError` for any other."""
    given = _json_object(answer).get("tags")
    if not isinstance(given, list):
        raise AnswerError('"tags" must be a list of words')
    tags = list({tag.casefold(): tag for tag in map(_tag, given[: 2 * most])}.values())
    if len(tags) < fewest:
        raise AnswerError(f"{fewest} to {most} tags are needed")
    return tags[:most]


def parse_text(answer: str, longest: int) -> str:
    """Return running text on one line, without markup, of at most ``longest`` characters: whole sentences if it can be.

    Raises `AnswerError` when nothing is left.
    """
    _refuse_long(answer)
    text = _plain(answer)
    if not any(letter.isalpha() for letter in text):
        raise AnswerError("the answer holds no words")
    if len(text) <= longest:
        return text
    cut, whole = text[:longest], SENTENCES.match(text[: longest + 1])
    return whole[0] if whole else cut.rpartition(" ")[0] or cut


def refuse_other_script(texts: Sequence[str], script: str) -> None:
    """Raise `AnswerError` when most letters are not of the script ("latin", "cyrillic", …; "any" takes all)."""
    letters = [letter for text in texts for letter in text if letter.isalpha()]
    of_it = sum(unicodedata.name(letter, "").startswith(script.upper()) for letter in letters)
    if script != "any" and 2 * of_it < len(letters):
        raise AnswerError(f"the answer must be written in {script} letters")


@lru_cache(8192)
def generic(tag: str) -> bool:
    """Say whether every word of the tag fits any item."""
    words = re.findall(r"\w+", tag.casefold())
    return all(word in GENERIC for word in words)


def _json_object(answer: str) -> dict[str, Any]:
    _refuse_long(answer)
    fenced = _FENCE.match(answer.strip()) if "```" in answer else None
    try:
        body = _JSON.validate_json(fenced[1] if fenced else answer)
    except ValueError:
        raise AnswerError("the answer is not one JSON object") from None
    if not isinstance(body, dict):
        raise AnswerError("the answer is not one JSON object")
    return body


def _refuse_long(answer: str) -> None:
    if len(answer) > MOST_CHARACTERS:
        raise AnswerError("the answer is far too long")


def _plain(text: str) -> str:
    """Return the text on one line, entities resolved, without tags, control characters and chat markers."""
    bare = _unmarked(text) if "<" in text or "&" in text else text
    if not bare.isprintable():
        bare = "".join(letter if unicodedata.category(letter)[0] not in "CZ" else " " for letter in bare)
    return " ".join(bare.split())


def _unmarked(text: str) -> str:
    for _ in range(LAYERS):
        before, text = text, _MARKUP.sub(" ", unescape(text))
        if text == before:
            break
    return text


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise AnswerError("a tag must be text")
    return value


def _tag(value: object) -> str:
    return _cleaned(_text(value))


@lru_cache(8192)
def _interest(tag: str, confidence: str) -> Tag | None:
    """Return an interest, cleaned; None for a generic one."""
    word, name = confidence.strip().casefold(), _cleaned(tag)
    for known in CONFIDENCES:
        if word == known:
            return None if generic(name) else Tag(name, known)
    raise AnswerError('each "confidence" must be high, medium or low')


# Few tags are said of many items.
@lru_cache(8192)
def _cleaned(value: str) -> str:
    text = _plain(value)
    if not text.isascii():
        text = "".join(map(_in_a_tag, text))
    for mark, instead in _IN_A_TAG.items():
        text = text.replace(mark, instead)
    tag = " ".join(text.split()).strip(" .,\"'`")
    if not any(letter.isalpha() for letter in tag):
        raise AnswerError("a tag must have letters")
    if len(tag) > TAG_CHARACTERS or len(tag.split()) > TAG_WORDS:
        raise AnswerError(f"a tag has at most {TAG_WORDS} words and {TAG_CHARACTERS} letters")
    return tag


def _in_a_tag(letter: str) -> str:
    """Return the letter; a space for a picture of one, nothing for what only frames or colours the picture before."""
    kind = unicodedata.category(letter)
    if kind == "Me" or "\ufe00" <= letter <= "\ufe0f":
        return ""
    return letter if kind not in ("So", "Sk", "Cs") else " "
