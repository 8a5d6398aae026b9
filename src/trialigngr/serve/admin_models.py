"""What admins ask: items by what they are and versions by their names, never paths and never addresses."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, StrictBool, StringConstraints

from trialigngr.serve.limits import LIMITS
from trialigngr.serve.request_models import Ids, Names, StrictBody, Text
from trialigngr.serve.response_models import RunVersion

LongText = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=20_000)]


class NewItem(StrictBody):
    """An item without a picture; items with pictures are appended by the command line."""

    item_id: Text
    title: LongText | None = None
    description: LongText | None = None
    brand: Text | None = None
    categories: Names = Field(default_factory=list)


class CatalogChange(StrictBody):
    """A change of a run's catalogue."""

    run: Text | None = None


class AppendQuery(CatalogChange):
    """Items to be appended."""

    items: Annotated[list[NewItem], Field(min_length=1, max_length=LIMITS.appended_items)]


class WithdrawalQuery(CatalogChange):
    """Items to be taken off the offer."""

    item_ids: Annotated[Ids, Field(min_length=1)]
    free_sids: StrictBool = False
    """Whether new items may bear their SIDs; then they cannot come back."""


class RollbackQuery(CatalogChange):
    """The version to be offered again."""

    version: Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9]{4,8}-[0-9a-f]{12}$")]


class CatalogState(BaseModel):
    """What is on offer now."""

    run: RunVersion
    changed: bool
    num_items: int
    num_withdrawn: int


class VersionList(BaseModel):
    """The versions that can be taken up again, oldest first."""

    run: RunVersion
    versions: list[str]
