"""`RecommendRequest`: a history and what may come back after it; `Recommendations`: what came back, and of what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, SupportsIndex, get_args

from trialigngr.foundation.arguments import Id, read_flag, read_id, read_ids, read_list, read_text, read_whole
from trialigngr.foundation.errors import ArgumentError, CatalogError, ErrorKind, did_you_mean
from trialigngr.systems.registry import GENERATORS, find_system

By = Literal["sid", "title"]
DropReason = Literal["unknown", "too old"]


@dataclass(frozen=True, init=False)
class RecommendRequest:
    """A history of item ids, oldest first, the number of items asked for, and what may come back.

    ``unseen`` leaves out what the history has (None: as the run's ``evaluate.seen_items`` has it, which leaves it out
    unless told otherwise), ``deny`` what is named. With ``only``, unless it is None, nothing else
    than what is named comes back, with a ``category`` nothing that does not bear it. ``skip_unknown`` leaves unknown
    items out of the history instead of refusing it. ``system`` is the system of the registry that is asked; empty: the
    one that heads the run's table. ``by`` says whether the generator writes SIDs (T3, T4) or titles (T5, T6). Systems
    that know users, or times, take them from ``user_id`` (anybody else is a stranger) and ``times`` (seconds since
    1970, one for each item of the history).
    """

    history: tuple[str, ...]
    k: int
    unseen: bool | None
    deny: tuple[str, ...]
    only: tuple[str, ...] | None
    category: str | None
    skip_unknown: bool
    by: By
    system: str
    user_id: str | None
    times: tuple[int, ...] | None

    def __init__(
        self,
        history: Iterable[Id],
        k: SupportsIndex = 10,
        *,
        unseen: bool | None = None,
        deny: Iterable[Id] = (),
        only: Iterable[Id] | None = None,
        category: str | None = None,
        skip_unknown: bool = False,
        by: By = "sid",
        system: str = "",
        user_id: Id | None = None,
        times: Iterable[SupportsIndex] | None = None,
    ) -> None:
        """Raise `ArgumentError` for arguments that make no request, `CatalogError` for k < 1 and `RecipeError` for an
        unknown system."""
        values = {
            "history": tuple(read_ids(history, "history", ordered=True)),
            "k": _read_k(k),
            "unseen": None if unseen is None else read_flag(unseen, "unseen"),
            "deny": tuple(read_ids(deny, "deny")),
            "only": None if only is None else tuple(read_ids(only, "only")),
            "category": None if category is None else read_text(category, "category"),
            "skip_unknown": read_flag(skip_unknown, "skip_unknown"),
            "by": _read_by(by),
            "system": "" if system == "" else find_system(read_text(system, "system")).name,
            "user_id": None if user_id is None else read_id(user_id, "user_id"),
            "times": None if times is None else _read_times(times),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if self.times is not None and len(self.times) != len(self.history):
            raise ArgumentError(f"times has {len(self.times)} numbers for {len(self.history)} items of history.")
        if self.by == "title" and self.system not in ("", *GENERATORS):
            raise ArgumentError(f"by = 'title' is for the generator; {self.system} writes nothing.")


@dataclass(frozen=True)
class DroppedItem:
    """An item of a history that the system did not look at: ``unknown`` to it, or ``too old`` where it looks at the
    last items alone."""

    item_id: str
    reason: DropReason


@dataclass(frozen=True)
class Recommendation:
    """A recommended item.

    ``source`` is the system that ranked it, or ``popular`` where there was no history to rank by. ``score`` is that
    system's: of the generator the log-probability of the item's SID, or title; None where popularity stands in.
    ``score_parts`` are what the score is made of, by name; of the generator with a prior as
    `systems.generator.GeneratorSystem.rank` says.
    """

    item_id: str
    title: str
    score: float | None
    source: str
    sid: str
    score_parts: Mapping[str, float] = field(default_factory=dict)


class Recommendations(list[Recommendation]):
    """The items that came back, best first; ``history_used`` are the items of the history that were looked at,
    ``dropped`` the others, ``num_beams`` the beams that were kept (None where no beam search was asked)."""

    def __init__(
        self,
        items: Iterable[Recommendation],
        history_used: tuple[str, ...] = (),
        dropped: tuple[DroppedItem, ...] = (),
        num_beams: int | None = None,
    ) -> None:
        super().__init__(items)
        self.history_used, self.dropped, self.num_beams = history_used, dropped, num_beams


def _read_by(by: By) -> By:
    known = get_args(By)
    if by not in known:
        hint = did_you_mean(by.lower(), known) if isinstance(by, str) else ""
        raise ArgumentError(f"by = {by!r}: the model writes {' or '.join(map(repr, known))}.{hint}")
    return by


def _read_times(times: Iterable[SupportsIndex]) -> tuple[int, ...]:
    """Return seconds since 1970; raise `ArgumentError` for what is no list of whole numbers of 64 bits."""
    found = tuple(
        read_whole(time, f"times[{place}]") for place, time in enumerate(read_list(times, "times", "numbers"))
    )
    if any(abs(time) >= 2**63 for time in found):
        raise ArgumentError(f"times holds {max(found, key=abs)}; give seconds since 1970.")
    return found


def _read_k(k: SupportsIndex) -> int:
    """Return how many items are asked for; raise `CatalogError` for fewer than one."""
    items = read_whole(k, "k")
    if items < 1:
        raise CatalogError(f"k = {items}: ask for at least one item.", ErrorKind.INVALID_ARGUMENT)
    return items
