"""What the service is asked, typed. Texts are no numbers; 10.0 is the whole number that JSON says it is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StringConstraints

from trialigngr.serve.limits import LIMITS


def accept_integral_float(given: Any) -> Any:
    """Return a float without a fraction as a whole number, as JSON Schema has it; all else as it is."""
    return int(given) if isinstance(given, float) and given.is_integer() else given


Text = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=LIMITS.id_length)]
"""An id or a name."""
SystemName = Annotated[str, StringConstraints(strict=True, max_length=LIMITS.id_length)]
NumItems = Annotated[int, Field(strict=True, ge=1, le=LIMITS.k), BeforeValidator(accept_integral_float)]
"""The bounds stand first: behind the validator the description would not have them."""
RequestId = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
Names = Annotated[list[Text], Field(max_length=LIMITS.names)]
Ids = Annotated[list[Text], Field(max_length=LIMITS.listed_ids)]
History = Annotated[list[Text], Field(max_length=LIMITS.history)]


class StrictBody(BaseModel):
    """A body in which every name is known."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class FieldFilter(StrictBody):
    """Items by what their catalogue says; of each field any of the names suffices."""

    category: Names = []
    brand: Names = []


class ItemFilter(StrictBody):
    """What may come back."""

    include: FieldFilter = Field(default_factory=FieldFilter)
    """Nothing but items that bear one of the names of each field that is given."""
    exclude: FieldFilter = Field(default_factory=FieldFilter)
    """No item that bears one of these."""
    allow_items: Ids | None = None
    """Nothing but these."""
    deny_items: Ids = []
    """None of these."""
    exclude_seen: StrictBool | None = None
    """Whether what the history has is left out; null for as the run does."""


class DiversityCap(StrictBody):
    """A list with at most so many items of a group."""

    by: Annotated[str, StringConstraints(strict=True, pattern=r"^(category|brand|sid:[1-9])$")]
    """``sid:2`` groups by the first two codes; ``category`` by an item's last, its narrowest."""
    max_per_group: NumItems = 1


class HistoryQuery(StrictBody):
    """After what: a history of item ids, oldest first, or all that a user of the log took."""

    history: History | None = None
    user_id: Text | None = None
    """Where a history is given too, only systems that know users look at it."""
    run: Text | None = None
    """The first run that is served, where none is named."""
    system: SystemName = ""
    """The system of the run that is asked; empty: the one that heads its table."""


class RecommendationQuery(HistoryQuery):
    """What to recommend."""

    k: NumItems = 10
    filter: ItemFilter = Field(default_factory=ItemFilter)
    diversity: DiversityCap | None = None
    fallback: Literal["popular", "none"] = "popular"
    """What comes back where no item of the history is known."""
    include: Annotated[list[Literal["metadata", "why", "timing"]], Field(max_length=3)] = ["metadata", "why"]
    request_id: RequestId | None = None


class BatchQuery(StrictBody):
    """Several requests, answered together."""

    requests: Annotated[list[RecommendationQuery], Field(min_length=1, max_length=LIMITS.batch)]


class RankQuery(HistoryQuery):
    """Candidates to be put in order."""

    items: Annotated[list[Text], Field(min_length=1, max_length=LIMITS.ranked_items)]
    include: Annotated[list[Literal["metadata", "why", "timing"]], Field(max_length=3)] = ["metadata"]


class ExplanationQuery(StrictBody):
    """An item whose score is taken apart."""

    history: Annotated[list[Text], Field(min_length=1, max_length=LIMITS.explained_history)]
    item_id: Text
    run: Text | None = None
    system: SystemName = ""
    method: Literal["leave_one_out"] = "leave_one_out"


class ItemEvent(StrictBody):
    """Something that somebody did, or saw."""

    event_id: Text
    """A second event of this id is not written again."""
    type: Literal["impression", "click", "view", "cart", "purchase", "rating", "dismiss"]
    item_ids: Annotated[list[Text], Field(min_length=1, max_length=LIMITS.event_items)]
    recommendation_id: RequestId | None = None
    session_id: Text | None = None
    user_id: Text | None = None
    timestamp: Annotated[float, Field(strict=True, ge=0, le=1e11)]
    """Seconds since 1970."""


class EventBatch(StrictBody):
    """Events that are written together."""

    events: Annotated[list[ItemEvent], Field(min_length=1, max_length=LIMITS.events)]
