"""What stands in the address of each page: all that a page shows follows from it, so that a link shows it again."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlencode

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from trialigngr.serve.item_models import NeighbourSpace
from trialigngr.serve.limits import LIMITS
from trialigngr.serve.request_models import DiversityCap, FieldFilter, ItemFilter, RecommendationQuery
from trialigngr.serve.routes.items import SID_PATTERN

MAX_PASTED = 20_000
"""Letters of ids that are pasted at once."""
Word = Annotated[str, StringConstraints(min_length=1, max_length=LIMITS.id_length)]
# A field of a form that is left empty is sent as an empty text.
OptionalWord = Annotated[Word | None, BeforeValidator(lambda given: given or None)]
OptionalSidWord = Annotated[
    Annotated[str, StringConstraints(pattern=SID_PATTERN)] | None, BeforeValidator(lambda given: given or None)
]
SystemWord = Annotated[str, StringConstraints(max_length=LIMITS.id_length)]
"""The name of a system; empty: the one that heads the run's table."""
Cursor = Annotated[int, Field(ge=0, le=2**53)]
NumShown = Annotated[int, Field(ge=1, le=LIMITS.k)]
Words = Annotated[list[Word], Field(max_length=LIMITS.history)]


def build_url(path: str, **values: Any) -> str:
    """Return an address with a query; what is None, empty or False is left out."""
    pairs = [
        (name, str(part).lower() if isinstance(part, bool) else part)
        for name, value in values.items()
        for part in (value if isinstance(value, list | tuple) else [value])
        if part not in (None, "", False)
    ]
    return f"{path}?{urlencode(pairs)}" if pairs else path


class PageForm(BaseModel):
    """What every page is asked: the run, the first that is served where none is named."""

    model_config = ConfigDict(frozen=True)
    run: OptionalWord = None

    def build_url(self, path: str, **changes: Any) -> str:
        """Return the address of this page's state with some of it changed; what is as it would be anyway is left
        out."""
        return build_url(path, **(self.model_dump(exclude_defaults=True) | changes))


class TreeForm(PageForm):
    """A node of the SID tree."""

    prefix: OptionalSidWord = None
    cursor: Cursor = 0


class ItemsForm(PageForm):
    """Items by what they are."""

    q: OptionalWord = None
    category: OptionalWord = None
    brand: OptionalWord = None
    sid: OptionalSidWord = None
    cursor: Cursor = 0


class ItemForm(PageForm):
    """An item, and in which sense its neighbours are near. Its id stands in the query: there it may hold anything."""

    id: Word
    space: NeighbourSpace = "embedding"


class MapForm(PageForm):
    """The map, drawn only where that is asked for."""

    draw: bool = False
    color: Literal["category", "code"] = "category"


class HistoryForm(PageForm):
    """A history: ``h`` once an item, oldest first; ``add`` holds ids between blanks or commas that come after them;
    ``q`` looks for items to add."""

    h: Words = []
    add: Annotated[str, StringConstraints(max_length=MAX_PASTED)] = ""
    q: OptionalWord = None
    k: NumShown = 10

    def append_pasted(self) -> Self:
        """Return the form with what was pasted in its history."""
        pasted = [item_id for item_id in re.split(r"[\s,]+", self.add) if item_id]
        return self.model_copy(update={"h": [*self.h, *pasted], "add": ""})


class RecommendForm(HistoryForm):
    """A history and what may come after it; ``explain`` is an item whose score is taken apart."""

    system: SystemWord = ""
    category: OptionalWord = None
    brand: OptionalWord = None
    deny: Words = []
    seen: Literal["", "leave_out", "keep"] = ""
    by: Literal["", "category", "brand", "sid:1", "sid:2", "sid:3"] = ""
    most: NumShown = 1
    explain: OptionalWord = None

    def build_query(self) -> RecommendationQuery:
        """Return what the API is asked."""
        return RecommendationQuery(
            history=self.h,
            run=self.run,
            system=self.system,
            k=self.k,
            filter=ItemFilter(
                include=FieldFilter(
                    category=[self.category] if self.category else [], brand=[self.brand] if self.brand else []
                ),
                deny_items=self.deny,
                exclude_seen=self.seen == "leave_out" if self.seen else None,
            ),
            diversity=DiversityCap(by=self.by, max_per_group=self.most) if self.by else None,
        )


class CompareForm(HistoryForm):
    """Two runs, the first two that are served where none is named, and a history to ask both about."""

    a: OptionalWord = None
    b: OptionalWord = None
    system_a: SystemWord = ""
    system_b: SystemWord = ""
