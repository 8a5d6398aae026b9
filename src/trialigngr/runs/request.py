"""`RecommendRequest`: what may come back when a run is asked, and how it is found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, SupportsIndex, get_args

from trialigngr.foundation.arguments import Id, read_flag, read_ids, read_text, read_whole
from trialigngr.foundation.errors import ArgumentError, CatalogError, did_you_mean

By = Literal["sid", "title"]


@dataclass(frozen=True)
class RecommendRequest:
    """What may come back, and how it is found.

    ``unseen`` leaves out what the history has, ``deny`` what is named. With ``only``, unless it is None, nothing else
    than what is named comes back, with a ``category`` nothing that does not bear it. ``by`` says whether the model
    writes SIDs (T3, T4) or titles (T5, T6).
    """

    unseen: bool = True
    deny: Sequence[str] = ()
    only: Sequence[str] | None = None
    category: str | None = None
    skip_unknown: bool = False
    by: By = "sid"

    @classmethod
    def from_arguments(
        cls,
        *,
        unseen: bool = True,
        deny: Iterable[Id] = (),
        only: Iterable[Id] | None = None,
        category: str | None = None,
        skip_unknown: bool = False,
        by: By = "sid",
    ) -> RecommendRequest:
        """Return the request that such arguments make; raise `ArgumentError` for those that make none."""
        return cls(
            read_flag(unseen, "unseen"),
            read_ids(deny, "deny"),
            None if only is None else read_ids(only, "only"),
            None if category is None else read_text(category, "category"),
            read_flag(skip_unknown, "skip_unknown"),
            _read_by(by),
        )


def _read_by(by: By) -> By:
    known = get_args(By)
    if by not in known:
        hint = did_you_mean(by.lower(), known) if isinstance(by, str) else ""
        raise ArgumentError(f"by = {by!r}: the model writes {' or '.join(map(repr, known))}.{hint}")
    return by


def read_k(k: SupportsIndex) -> int:
    """Return how many items are asked for; raise `CatalogError` for fewer than one."""
    items = read_whole(k, "k")
    if items < 1:
        raise CatalogError(f"k = {items}: ask for at least one item.")
    return items
