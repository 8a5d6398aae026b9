"""Items in full, pages of them, neighbours, and nodes of the SID tree, as they are answered."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from trialigngr.serve.response_models import ItemCard, RunVersion


class InterestTag(BaseModel):
    """An interest, and how sure its generator is."""

    tag: str
    confidence: str


class ItemDetail(ItemCard):
    """All that the run knows of an item."""

    description: str | None
    caption: str | None
    interests: list[InterestTag]
    lifestyle: str | None
    same_sid: list[str]
    withdrawn: bool
    popularity: int


class ItemPage(BaseModel):
    """Some items; ``next_cursor`` asks for those after them, and stays right while items are appended."""

    run: RunVersion
    items: list[ItemCard]
    next_cursor: int | None


class NeighbourItem(ItemCard):
    """A neighbour: ``value`` is a cosine, the leading codes in common, or the users who took both."""

    rank: int
    value: float


class NeighbourList(BaseModel):
    """The nearest items of an item."""

    run: RunVersion
    item_id: str
    space: Literal["embedding", "sid", "together"]
    neighbours: list[NeighbourItem]


class SidChild(BaseModel):
    """The items whose SIDs go on with a code."""

    code: int
    num_items: int
    top_interests: list[str]
    top_categories: list[str]
    examples: list[str]


class SidNode(BaseModel):
    """The items whose SIDs begin with a prefix. What they have in common is an association."""

    run: RunVersion
    prefix: list[int]
    num_items: int
    num_sids: int
    collisions: int
    """Items that share their SID with another one."""
    children: list[SidChild]
    next_cursor: int | None
