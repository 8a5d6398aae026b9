"""What the service answers, typed: errors, items and lists. Nothing leaves it that stands in no model."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class ServiceFault(BaseModel):
    """What went wrong."""

    code: str
    message: str
    type: str
    param: str | None = None
    retryable: bool = False
    request_id: str


class FaultResponse(BaseModel):
    """The one shape of all errors."""

    error: ServiceFault


class RunVersion(BaseModel):
    """Which run answered, with which model and which catalogue."""

    name: str
    model: str
    catalogue_version: str


class LeftOutItem(BaseModel):
    """An item of a request that had no say, and why."""

    item_id: str
    reason: Literal["unknown", "too old", "withdrawn"]


class ItemMetadata(BaseModel):
    """What the catalogue says of an item."""

    title: str
    brand: str | None
    categories: list[str]


class NearHistoryItem(BaseModel):
    """An item of the history and how near it is: leading codes of the SID in common, cosine of the embeddings."""

    item_id: str
    shared_prefix: int
    cosine: float | None


class ItemReason(BaseModel):
    """What an item has in common with the history. An association: nobody says that the model went by it."""

    nearest_history: list[NearHistoryItem]
    shared_interests: list[str]
    kind: Literal["association"] = "association"


class ItemCard(BaseModel):
    """An item as it stands in lists."""

    item_id: str
    sid: list[int]
    sid_text: str
    image_url: str | None
    metadata: ItemMetadata | None = None


class RankedItem(ItemCard):
    """An item of a ranked list; ``score`` is that of ``source``, null where popularity stands in."""

    rank: int
    score: float | None
    score_parts: dict[str, float]
    source: str
    why: ItemReason | None = None


class AnswerTiming(BaseModel):
    """Milliseconds, and how many requests were decoded together."""

    waited: float
    decoded: float
    total: float
    batch_size: int


class HistoryUse(BaseModel):
    """What of a history was looked at."""

    run: RunVersion
    system: str
    softmax: str
    """Over what the generator's probabilities are normalised; scores under another one are not comparable."""
    history_used: int
    history_dropped: list[LeftOutItem]
    """The last of those that were, as many as a history of a request may hold."""
    num_dropped: int
    """How many there were."""
    missing_items: list[LeftOutItem]
    """Items of filters and candidates that cannot come back, but for those that were to be left out."""


class RecommendationResponse(HistoryUse):
    """A ranked list."""

    recommendation_id: str
    request_id: str
    requested: int
    returned: int
    num_beams: int | None
    fallback_used: bool
    items: list[RankedItem]
    timing_ms: AnswerTiming | None = None


class BatchEntry(BaseModel):
    """The answer to one request of a batch, or its error."""

    ok: RecommendationResponse | None = None
    error: ServiceFault | None = None


class BatchResponse(BaseModel):
    """One entry a request, in their order."""

    responses: list[BatchEntry]


class ScoreChange(BaseModel):
    """How the score would differ without an item of the history: ``change`` is what the item adds."""

    position: int
    item_id: str
    score_without: float | None
    change: float | None


class ExplanationResponse(HistoryUse):
    """The score of an item after a history, and without each item of it."""

    item: ItemCard
    score: float | None
    kind: Literal["counterfactual"] = "counterfactual"
    method: Literal["leave_one_out"] = "leave_one_out"
    changes: list[ScoreChange]
