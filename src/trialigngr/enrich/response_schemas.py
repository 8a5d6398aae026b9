"""The forms of answers, as JSON schemas that a server can hold a language model to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

ResponseForm = Literal["text", "tags", "interests"]
TAGS_SCHEMA = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 8}
TEXT_SCHEMA = {"type": "string"}
CONFIDENCE_SCHEMA = {"enum": ["high", "medium", "low"], "type": "string"}
MIN_INTERESTS, MAX_INTERESTS = 2, 4
"""Interests of an item."""


class Choices(NamedTuple):
    """All that an answer may choose from, the nearest to the item first."""

    tags: tuple[str, ...]
    lifestyles: tuple[str, ...]


def make_response_schema(form: ResponseForm, choices: Choices | None = None) -> dict[str, Any] | None:
    """Return the name and the schema of answers of a form, perhaps with these choices; None for running text."""
    match form:
        case "tags":
            return {"name": form, "schema": _object_schema(tags=TAGS_SCHEMA)}
        case "interests":
            return {"name": form, "schema": _make_interests_schema(choices)}
        case _:
            return None


def _make_interests_schema(choices: Choices | None) -> dict[str, Any]:
    """Return the schema of interests and a lifestyle.

    No grammar of a server can say that tags differ (``uniqueItems``), and weak models repeat themselves. So the choices
    are dealt out, as cards are, to the places of the list: each place has its own, and no tag can come twice.
    """
    array: dict[str, Any] = {"type": "array", "minItems": MIN_INTERESTS, "maxItems": MAX_INTERESTS}
    if choices is None:
        return _object_schema(
            interests=array | {"items": _object_schema(tag=TEXT_SCHEMA, confidence=CONFIDENCE_SCHEMA)},
            lifestyle=TEXT_SCHEMA,
        )
    hands = [_enum_schema(choices.tags[place::MAX_INTERESTS]) for place in range(MAX_INTERESTS)]
    places = {"prefixItems": [_object_schema(tag=hand, confidence=CONFIDENCE_SCHEMA) for hand in hands]}
    return _object_schema(interests=array | places, lifestyle=_enum_schema(choices.lifestyles))


def _object_schema(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False
    }  # fmt: skip


def _enum_schema(names: Sequence[str]) -> dict[str, Any]:
    return {"type": "string", "enum": list(names)}
