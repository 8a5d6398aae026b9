"""Runs, their figures, the state and the limits of the service, as they are answered."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from trialigngr.serve.response_models import RunVersion


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
    head: str
    """The system that answers where a request names none."""
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
