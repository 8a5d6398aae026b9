"""The page's whole input as plain data. Who fills it knows runs; the page knows only this.

Everything is text, numbers and paths of pictures. ``None`` and empty tuples mean "not there": the page says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trialigngr.enrich.statistics import Written
from trialigngr.metrics.intervals import Estimate
from trialigngr.sids.quality import Quality
from trialigngr.sids.tsne import CodeMap


@dataclass(frozen=True)
class Counts:
    """The data after filtering. ``notes`` say what was dropped, repaired or missing, a sentence each."""

    users: int
    items: int
    interactions: int
    pictures: int
    test_targets: int
    titles: int | None = None
    median_history: float | None = None
    notes: tuple[str, ...] = ()


StageName = Literal["catalog", "captions", "interests", "embeddings", "sids", "tasks", "model", "decode", "evaluation"]
"""The rooms of the pipeline picture, in order. ``tasks`` and ``decode`` leave no folder: their seconds are ``None``."""


@dataclass(frozen=True)
class Stage:
    """One stage: a fact to print under it ("324 captions"), its seconds (None: not timed), what generated its rows."""

    name: StageName
    fact: str
    seconds: float | None = None
    generator: str | None = None


@dataclass(frozen=True)
class SidPanel:
    """The SIDs of a run: their quality, the share of items that shared one before the policy moved some, and where
    items lie in code space."""

    quality: Quality
    raw_sharing: float | None = None
    policy: str = ""
    moved: int | None = None
    map: CodeMap | None = None


@dataclass(frozen=True)
class System:
    """One row of a table: metric name (``HR@10``) → figure. ``ours`` marks the run that the page is about."""

    name: str
    figures: Mapping[str, Estimate]
    ours: bool = False


@dataclass(frozen=True)
class MetricTable:
    """One table of systems × metrics, and one sentence on how it was counted. The first table is the headline."""

    name: str
    says: str
    systems: tuple[System, ...]


@dataclass(frozen=True)
class Grid:
    """A small table as it is to be read: a sentence on what it says, column names, rows of cells (a name first)."""

    name: str
    says: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Difference:
    """The paired difference ours - ``versus`` on a metric, over the same targets."""

    metric: str
    versus: str
    estimate: Estimate


@dataclass(frozen=True)
class Curves:
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
class Span:
    """A piece of a prompt; ``token`` marks one special token. Text that merely looks like one is not marked."""

    text: str
    token: bool = False


@dataclass(frozen=True)
class TaskExample:
    """A real example of a task, or (``absent``) the sentence that says why this run does not have the task.

    ``number`` is T1 … T8, ``name`` as in `tasks.task`.
    """

    number: str
    name: str
    system: tuple[Span, ...] = ()
    user: tuple[Span, ...] = ()
    target: tuple[Span, ...] = ()
    examples: int | None = None
    absent: str = ""


@dataclass(frozen=True)
class Tile:
    """An item as people see it."""

    title: str
    picture: Path | None = None
    category: str | None = None


@dataclass(frozen=True)
class Recommended:
    """A recommended item; its rank is its place in the list, ``score`` its log-probability; ``taken`` marks a hit."""

    item: Tile
    score: float | None = None
    taken: bool = False


@dataclass(frozen=True)
class Person:
    """One pseudonymised user ("Shopper 3"). ``history`` is oldest first; ``earlier`` more items came before it."""

    name: str
    history: tuple[Tile, ...]
    recommended: tuple[Recommended, ...]
    taken: Tile
    earlier: int = 0


@dataclass(frozen=True)
class Interest:
    """One interest tag with its confidence."""

    tag: str
    confidence: Literal["high", "medium", "low"]


@dataclass(frozen=True)
class Story:
    """One item's way through the stages (the paper's Table 12). ``sid`` is its tokens; ``kin`` share its first code."""

    item: Tile
    description: str | None
    brand: str | None
    categories: tuple[str, ...]
    caption: str | None
    interests: tuple[Interest, ...]
    lifestyle: str | None
    enriched_text: str | None
    sid: tuple[str, ...]
    kin: tuple[Tile, ...] = ()


@dataclass(frozen=True)
class Described:
    """An item beside what was written about it; the problems say why nothing was."""

    item: Tile
    caption: str | None
    interests: tuple[Interest, ...] = ()
    lifestyle: str | None = None
    caption_problem: str = ""
    interests_problem: str = ""


@dataclass(frozen=True)
class Seen:
    """What captions and tags are like: figures over the catalogue, and some items."""

    figures: Written
    items: tuple[Described, ...] = ()


@dataclass(frozen=True)
class Page:
    """Everything the page shows. ``settings`` and ``protocol`` may nest; ``made_on`` is a date as people read it.

    ``grids`` stand below the results, ``diagnostics`` in a section of their own.
    ``people_chosen`` is the sentence that says how the people were drawn; ``notes`` stand at the foot of the page.
    """

    title: str
    recipe: str
    made_on: str
    counts: Counts
    stages: tuple[Stage, ...]
    settings: Mapping[str, Any]
    protocol: Mapping[str, Any] = field(default_factory=dict)
    seen: Seen | None = None
    sids: SidPanel | None = None
    tables: tuple[MetricTable, ...] = ()
    differences: tuple[Difference, ...] = ()
    grids: tuple[Grid, ...] = ()
    diagnostics: tuple[Grid, ...] = ()
    curves: Curves | None = None
    tasks: tuple[TaskExample, ...] = ()
    people: tuple[Person, ...] = ()
    people_chosen: str = ""
    stories: tuple[Story, ...] = ()
    version: str = ""
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> MetricTable | None:
        """The first table."""
        return self.tables[0] if self.tables else None

    @property
    def pictured(self) -> bool:
        """Whether the catalogue has any picture."""
        return self.counts.pictures > 0
