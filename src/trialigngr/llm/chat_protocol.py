"""OpenAI's chat protocol: a question as the body of a request, a response's bytes as an answer."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

from PIL import Image

from trialigngr.llm.answers import MOST_CHARACTERS, whole_sentences
from trialigngr.llm.generator import Answer, Choices, Form, GeneratorSettings, Question

JPEG_QUALITY = 90
TAGS = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 8}
TEXT = {"type": "string"}
CONFIDENCE = {"enum": ["high", "medium", "low"], "type": "string"}
FEWEST, MOST = 2, 4
"""Interests of an item."""
MOST_TOKENS = 10**8
"""A server that says it read or wrote more for one answer is not believed."""


class MalformedError(ValueError):
    """Bytes that are no answer of the protocol; the message says why. What they cost all the same stands beside it."""

    def __init__(self, problem: str, tokens_in: int = 0, tokens_out: int = 0) -> None:
        super().__init__(problem)
        self.tokens_in, self.tokens_out = tokens_in, tokens_out


def schema_for(form: Form, choices: Choices | None = None) -> dict[str, Any] | None:
    """Return the ``response_format`` for answers of a form, perhaps with these choices; None for running text."""
    match form:
        case "tags":
            schema = _object_of(tags=TAGS)
        case "interests":
            schema = _interests(choices)
        case _:
            return None
    return {"type": "json_schema", "json_schema": {"name": form, "strict": True, "schema": schema}}


def _interests(choices: Choices | None) -> dict[str, Any]:
    """Return the schema of interests and a lifestyle.

    No grammar of a server can say that tags differ (``uniqueItems``), and weak models repeat themselves. So the choices
    are dealt out, as cards are, to the places of the list: each place has its own, and no tag can come twice.
    """
    some: dict[str, Any] = {"type": "array", "minItems": FEWEST, "maxItems": MOST}
    if choices is None:
        return _object_of(interests=some | {"items": _object_of(tag=TEXT, confidence=CONFIDENCE)}, lifestyle=TEXT)
    hands = [_one_of(choices.tags[place::MOST]) for place in range(MOST)]
    places = {"prefixItems": [_object_of(tag=hand, confidence=CONFIDENCE) for hand in hands]}
    return _object_of(interests=some | places, lifestyle=_one_of(choices.lifestyles))


def _object_of(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False
    }  # fmt: skip


def _one_of(names: Sequence[str]) -> dict[str, Any]:
    return {"type": "string", "enum": list(names)}


def body_for(question: Question, settings: GeneratorSettings) -> dict[str, Any]:
    """Return the request for a question; its picture, if there is one, stands before the text as a data URL."""
    content: list[dict[str, Any]] | str = question.text
    if question.picture is not None:
        url = data_url(question.picture, settings.long_side)
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question.text}]
    messages = [{"role": "system", "content": question.system}, {"role": "user", "content": content}]
    options = settings.model_dump(include={"model", "temperature", "max_tokens", "seed"})
    return {"messages": messages, **options}


def data_url(picture: Image.Image, long_side: int) -> str:
    """Return the picture as a JPEG in a ``data:`` URL, no side longer than ``long_side``."""
    small = picture.copy()
    small.thumbnail((long_side, long_side), Image.Resampling.LANCZOS)
    held = io.BytesIO()
    small.save(held, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}"


def answer_from(number: int, raw: bytes) -> Answer:
    """Return the answer in a response's body; raise `MalformedError` when there is none.

    A refusal, and an answer that a filter stopped, is a final problem. One that ran out of tokens ends with its last
    whole sentence.
    """
    body = _object(raw)
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    read, written = _tokens(body.get("usage"))
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise MalformedError("the answer holds no choice with a message", read, written)
    if message.get("refusal") or choice.get("finish_reason") == "content_filter":
        return Answer(number, None, "the model refused the item", True, read, written)
    text = message.get("content")
    if not isinstance(text, str) or not text.strip():
        raise MalformedError("the answer is empty", read, written)
    # What is longer is refused for its length, whatever stands behind.
    text = well_formed(text.strip()[: MOST_CHARACTERS + 1])
    text = whole_sentences(text) if choice.get("finish_reason") == "length" else text
    return Answer(number, text, tokens_in=read, tokens_out=written)


def listed_models(raw: bytes) -> list[str]:
    """Return the names in a list of models; raise `MalformedError` when it is none."""
    rows = _object(raw).get("data")
    if not isinstance(rows, list):
        raise MalformedError("its list of models has no data")
    return [well_formed(row["id"]) for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]


def well_formed(text: str) -> str:
    """Return the text with U+FFFD for each half of a letter, which JSON can name and nothing can write."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise MalformedError("the answer is no JSON") from None
    if not isinstance(body, dict):
        raise MalformedError("the answer is no JSON object")
    return body


def _tokens(usage: object) -> tuple[int, int]:
    given = usage if isinstance(usage, dict) else {}
    read, written = (given.get(name) for name in ("prompt_tokens", "completion_tokens"))
    return _count(read), _count(written)


def _count(given: object) -> int:
    """Return a number of tokens; 0 for what can be none."""
    whole = isinstance(given, int) or (isinstance(given, float) and given.is_integer())
    return int(given) if whole and 0 <= given <= MOST_TOKENS else 0  # type: ignore[call-overload,operator]
