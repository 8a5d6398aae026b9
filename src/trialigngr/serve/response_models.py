"""What the service answers, typed: nothing leaves it that stands in no model here."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


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


class MetricFigure(BaseModel):
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


class ServedRunInfo(BaseModel):
    """A run that is served."""

    version: RunVersion
    num_items: int
    num_withdrawn: int
    codebook_sizes: list[int]
    systems: list[str]
    max_history: int
    num_beams: int
    softmax: str
    num_images: int


class RunList(BaseModel):
    """The runs that are served, the one that answers by default first."""

    runs: list[ServedRunInfo]


class RunFigures(BaseModel):
    """The test figures of a run's generator, and how they were counted."""

    run: RunVersion
    figures: dict[str, MetricFigure]
    protocol: dict[str, str]


class RunComparison(BaseModel):
    """Two runs side by side. ``protocol_differences`` name what makes their figures not comparable."""

    a: RunFigures
    b: RunFigures
    protocol_differences: list[str]


class EventReceipt(BaseModel):
    """What became of events: those that were written are on the disk, the others were there before."""

    accepted: int
    duplicates: int


class HealthState(BaseModel):
    """Whether requests are answered, and why not."""

    status: Literal["ok", "not ready"]
    reasons: list[str] = Field(default_factory=list)


class ServiceInfo(BaseModel):
    """What this service is, and its limits."""

    version: str
    runs: list[str]
    limits: dict[str, int]
    queue: dict[str, float]
    keys_needed: bool
    admin: bool
    events: bool
