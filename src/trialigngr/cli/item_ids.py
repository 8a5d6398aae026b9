"""Item ids on the command line: a list with commas, an option for each, or JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any


def read_item_ids(values: Sequence[str], known: Collection[str]) -> list[Any]:
    """Return the ids that the values of an option name, in their order.

    A value that is the id of an item stands for that item, whatever it holds. Another one is a JSON list, or is cut at
    its commas. What is in a JSON list is left to whoever takes the ids.
    """
    return [item_id for value in values for item_id in _split_ids(value, known)]


def _split_ids(value: str, known: Collection[str]) -> Iterator[Any]:
    if value in known:
        yield value
    elif (listed := _json_list(value)) is not None:
        yield from listed
    else:
        for part in filter(str.strip, value.split(",")):
            yield part if part in known else part.strip()


def _json_list(value: str) -> list[Any] | None:
    if not value.lstrip().startswith("["):
        return None
    try:
        body = json.loads(value)
    except (ValueError, RecursionError):  # an id may begin like a list
        return None
    return body if isinstance(body, list) else None
