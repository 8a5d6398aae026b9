"""The settings of the test."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trialigngr.foundation.config import Settings

SeenItems = Literal["keep", "mask", "as the log"]


class EvaluateSettings(Settings):
    """How a run is tested. K in {5, 10} stands in every table."""

    ks: tuple[Annotated[int, Field(ge=1)], ...] = (5, 10)
    """Lengths at which lists are cut, beside 5 and 10. The test takes at least as many beams."""
    # Left out where it says nothing, so that what was tested before it was there stays what it is.
    head: str = Field("generator", exclude_if=lambda name: name == "generator")
    """The system that heads the table, and recommends unless another is asked. Where neither it nor ``systems`` names
    the generator, no language model is trained, and nothing is made that only the language model needs."""
    systems: tuple[str, ...] = ("popularity", "counts")
    """What stands in the table beside the head: names of the registry, such as ``sasrec``, which is then trained,
    in minutes."""
    seen_items: SeenItems | None = None
    """Whether tables are headed by the figures with seen items left out (``mask``) or not (``keep``), of every system
    alike, and `recommend` does the same; ``as the log``: left out where fewer than 1 % of training targets repeat an
    earlier item. Both stand in every table. Unset: tables keep them, and `recommend` leaves them out."""
    num_recommendations: int = Field(10, ge=1)
    """Items a target kept in ``recommendations.parquet``."""

    def list_systems(self) -> tuple[str, ...]:
        """Return the names of all systems of the table, each once, the head first."""
        return tuple(dict.fromkeys((self.head, *self.systems)))

    @property
    def list_lengths(self) -> tuple[int, ...]:
        """Every K, in order."""
        return tuple(sorted({5, 10, *self.ks}))
