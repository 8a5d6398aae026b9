"""Items in full, pages of them, neighbours, and nodes of the SID tree, as they are answered."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from trialigngr.serve.response_models import ItemCard, RunVersion

NeighbourSpace = Literal["embedding", "sid", "together"]


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
    """The nearest items of an item. ``value_by_chance`` is the value of an item that is drawn at random."""

    run: RunVersion
    item_id: str
    space: NeighbourSpace
    value_by_chance: float | None
    neighbours: list[NeighbourItem]


class NameShare(BaseModel):
    """The share of a branch's items that bear a name, and of the whole catalogue's, which is what a branch of items
    drawn at random has on average. Items without any name are not counted."""

    name: str
    share: float
    by_chance: float


class BranchAgreement(BaseModel):
    """How alike two items of a branch are on average: how likely they are of one category, and how many interests they
    have in common; beside each the same where items are shuffled over the branches. Null without two such items."""

    same_category: float | None
    same_category_by_chance: float | None
    common_interests: float | None
    common_interests_by_chance: float | None


class BranchSummary(BaseModel):
    """What the items of a branch have in common. An association: nobody says what a code means."""

    num_items: int
    top_interests: list[NameShare]
    top_categories: list[NameShare]
    agreement: BranchAgreement


class SidChild(BranchSummary):
    """The items whose SIDs go on with a code."""

    code: int
    sid: str
    """The codes from the root on, as ``/v1/sids/{sid}`` takes them."""
    examples: list[str]


class SidNode(BranchSummary):
    """The items whose SIDs begin with a prefix."""

    run: RunVersion
    prefix: list[int]
    num_sids: int
    collisions: int
    """Items that share their SID with another one."""
    children: list[SidChild]
    next_cursor: int | None
