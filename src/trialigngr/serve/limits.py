"""The most that one request may ask for, and how the queue behind the service works; `/v1/info` shows both."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RequestLimits:
    """What one request may hold at most: bytes, items, ids and letters."""

    body_bytes: int = 1 << 20
    k: int = 100
    history: int = 500
    id_length: int = 256
    listed_ids: int = 10_000
    names: int = 50
    batch: int = 32
    ranked_items: int = 500
    explained_history: int = 50
    events: int = 100
    event_items: int = 100
    page: int = 100
    appended_items: int = 500


LIMITS = RequestLimits()


@dataclass(frozen=True)
class QueueSettings:
    """``max_waiting`` requests wait at most, ``max_batch`` are decoded together. Under load a batch waits ``window_ms``
    for more; what was not begun after ``deadline_s`` is given up."""

    max_waiting: int = 256
    max_batch: int = 64
    window_ms: float = 5.0
    deadline_s: float = 30.0
