"""`Ranker`: any system that can say where a target stands among all items."""

from __future__ import annotations

from typing import Protocol

from trialigngr.catalog.histories import Histories, Targets
from trialigngr.metrics.ranks import Ranks


class Ranker(Protocol):
    """A system fitted on the training parts only."""

    @property
    def name(self) -> str:
        """How the system is called in tables."""
        ...

    def ranks(self, histories: Histories, targets: Targets, *, unseen: bool) -> Ranks:
        """Return where each target stands among all items.

        With ``unseen``, items taken before a target take no place, and a target that was taken before is missed: no
        list without seen items can hold it.
        """
        ...
