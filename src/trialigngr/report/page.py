"""The page's whole input as plain data. Who fills it knows runs; the page knows only this.

Everything is text, numbers and paths of pictures. ``None`` and empty tuples mean "not there": the page says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from trialigngr.enrich.statistics import EnrichmentStatistics
    from trialigngr.evaluate.comparison import SystemRow
    from trialigngr.evaluate.table import Table
    from trialigngr.metrics.intervals import Estimate
    from trialigngr.sids.quality import SidQuality
    from trialigngr.sids.tsne import CodeMap


@dataclass(frozen=True)
class DataCounts:
    """The data after filtering. ``notes`` say what was dropped, repaired or missing, a sentence each."""

    num_users: int
    num_items: int
    num_interactions: int
    num_images: int
    num_test_targets: int
    num_titles: int | None = None
    median_history_length: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PipelineStep:
    """A box of the pipeline's picture: its label, a fact to print under it ("324 captions"), its seconds (None: not
    timed), what generated its rows."""

    name: str
    label: str
    summary: str
    seconds: float | None = None
    generator: str | None = None


@dataclass(frozen=True)
class SidSection:
    """The SIDs of a run: their quality, the share of items that shared one before the policy moved some, and where
    items lie in code space."""

    quality: SidQuality
    collision_rate_before: float | None = None
    collision_policy: str = ""
    num_moved: int | None = None
    code_map: CodeMap | None = None


@dataclass(frozen=True)
class MetricChart:
    """Systems × metrics, drawn with their intervals, and a sentence on how it was counted; ``this_run`` is the system
    that the page is about. The first chart is the headline."""

    title: str
    note: str
    rows: tuple[SystemRow, ...]
    this_run: str = "TriAlignGR"


@dataclass(frozen=True)
class PairedDifference:
    """The paired difference ours - ``baseline`` on a metric, over the same targets."""

    metric: str
    baseline: str
    estimate: Estimate


@dataclass(frozen=True)
class TrainingCurves:
    """Training loss by task name, and the validation metric, as (step, value); ``chosen_step`` is the one kept."""

    loss: Mapping[str, tuple[tuple[int, float], ...]]
    validation: tuple[tuple[int, float], ...] = ()
    validation_metric: str = "NDCG@10"
    chosen_step: int | None = None

    @property
    def last_step(self) -> int:
        """The last step of any curve."""
        return max((step for points in (*self.loss.values(), self.validation) for step, _ in points), default=0)


@dataclass(frozen=True)
class PromptSpan:
    """A piece of a prompt; ``is_special_token`` marks one special token. Text that merely looks like one is not
    marked."""

    text: str
    is_special_token: bool = False


@dataclass(frozen=True)
class TaskExample:
    """A real example of a task, or (``missing_reason``) the sentence that says why this run does not have the task.

    ``number`` is T1 … T8, ``name`` as in `tasks.task`.
    """

    number: str
    name: str
    system: tuple[PromptSpan, ...] = ()
    user: tuple[PromptSpan, ...] = ()
    target: tuple[PromptSpan, ...] = ()
    num_examples: int | None = None
    missing_reason: str = ""


@dataclass(frozen=True)
class ItemTile:
    """An item as people see it."""

    title: str
    image: Path | None = None
    category: str | None = None


@dataclass(frozen=True)
class RecommendedTile:
    """A recommended item; its rank is its place in the list, ``score`` its log-probability; ``is_hit`` marks a hit."""

    item: ItemTile
    score: float | None = None
    is_hit: bool = False


@dataclass(frozen=True)
class ExampleUser:
    """One pseudonymised user ("Shopper 3"). ``history`` is oldest first; ``num_earlier_items`` more items came before
    it."""

    name: str
    history: tuple[ItemTile, ...]
    recommendations: tuple[RecommendedTile, ...]
    target: ItemTile
    num_earlier_items: int = 0


@dataclass(frozen=True)
class PageInterest:
    """One interest tag with its confidence."""

    tag: str
    confidence: Literal["high", "medium", "low"]


@dataclass(frozen=True)
class CaseStudy:
    """One item's way through the stages (the paper's Table 12). ``sid`` is its tokens; ``items_sharing_first_code``
    share its first code."""

    item: ItemTile
    description: str | None
    brand: str | None
    categories: tuple[str, ...]
    caption: str | None
    interests: tuple[PageInterest, ...]
    lifestyle: str | None
    enriched_text: str | None
    sid: tuple[str, ...]
    items_sharing_first_code: tuple[ItemTile, ...] = ()


@dataclass(frozen=True)
class EnrichedItem:
    """An item beside what was written about it; the problems say why nothing was."""

    item: ItemTile
    caption: str | None
    interests: tuple[PageInterest, ...] = ()
    lifestyle: str | None = None
    caption_problem: str = ""
    interests_problem: str = ""


@dataclass(frozen=True)
class EnrichmentSection:
    """What captions and tags are like: figures over the catalogue, and some items."""

    statistics: EnrichmentStatistics
    items: tuple[EnrichedItem, ...] = ()


@dataclass(frozen=True)
class ReportPage:
    """Everything the page shows. ``settings`` and ``protocol`` may nest; ``created_on`` is a date as people read it.

    ``result_tables`` stand below the results, ``diagnostics_tables`` in a section of their own.
    ``sampling_note`` is the sentence that says how the people were drawn; ``notes`` stand at the foot of the page.
    """

    title: str
    recipe: str
    created_on: str
    data_counts: DataCounts
    steps: tuple[PipelineStep, ...]
    settings: Mapping[str, Any]
    protocol: Mapping[str, Any] = field(default_factory=dict)
    enrichment: EnrichmentSection | None = None
    sid_section: SidSection | None = None
    metric_charts: tuple[MetricChart, ...] = ()
    differences: tuple[PairedDifference, ...] = ()
    result_tables: tuple[Table, ...] = ()
    diagnostics_tables: tuple[Table, ...] = ()
    curves: TrainingCurves | None = None
    task_examples: tuple[TaskExample, ...] = ()
    example_users: tuple[ExampleUser, ...] = ()
    sampling_note: str = ""
    case_studies: tuple[CaseStudy, ...] = ()
    version: str = ""
    notes: tuple[str, ...] = ()

    @property
    def headline_chart(self) -> MetricChart | None:
        """The first table."""
        return self.metric_charts[0] if self.metric_charts else None

    @property
    def has_images(self) -> bool:
        """Whether the catalogue has any picture."""
        return self.data_counts.num_images > 0
