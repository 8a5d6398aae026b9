"""`SystemSpec`: what a system declares once, so that runs, tables, tuning and recommending loop over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trialigngr.catalog.histories import Histories, Split, Targets
from trialigngr.catalog.item_attributes import ItemAttributes
from trialigngr.catalog.items import Catalog
from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import CatalogError
from trialigngr.sids.settings import SidSettings

if TYPE_CHECKING:
    from trialigngr.decode.settings import DecodeSettings
    from trialigngr.evaluate.system import System
    from trialigngr.sids.semantic_ids import SemanticIds

Facts = dict[str, Any]
FitSystem = Callable[[Any, Any, Path], Facts]
DescribeSids = Callable[[Any, SidSettings], SidSettings]


class SystemInputs(Protocol):
    """What a system is fitted and loaded with: the catalogue stage of a run."""

    @property
    def catalog(self) -> Catalog:
        """The N items, by row."""
        ...

    @property
    def histories(self) -> Histories:
        """Who took what, and when; a system is fitted on the training parts alone."""
        ...

    @property
    def item_attributes(self) -> ItemAttributes:
        """Brand and categories of the items, as numbers."""
        ...

    @property
    def root_seed(self) -> int:
        """Root of every random choice."""
        ...

    @property
    def device(self) -> str:
        """Where networks compute."""
        ...

    def load_system(self, name: str) -> System:
        """Return another system, whose stage stands in ``needs``."""
        ...

    def sample_targets(self, part: Split, num_users: int) -> Targets:
        """Return the targets of a fixed sample of a part's users."""
        ...


class SidInputs(SystemInputs, Protocol):
    """What a system is fitted and loaded with that writes SIDs: a stage of SIDs, too."""

    def load_sids(self, stage: str) -> SemanticIds:
        """Return the items' SIDs of a stage: ``sids``, the run's, or a system's own."""
        ...

    @property
    def decode(self) -> DecodeSettings:
        """How lists are decoded."""
        ...


class DataNeed(StrEnum):
    """What a system cannot be without, beside items in order."""

    TIMESTAMPS = "timestamps"
    ATTRIBUTES = "brands or categories"


@dataclass(frozen=True)
class SystemSpec:
    """A system of the registry. Heavy libraries are imported in ``fit`` and ``load``, so that naming it loads none."""

    name: str
    """In recipes, tables and file names, and of its stage."""
    label: str
    """As people write it."""
    load: Callable[[Any, Path], System]
    """Makes it ready from a run's artifacts (`SystemInputs`) and the folder of its stage."""
    settings: type[Settings] | None = None
    """Its section of a recipe, of its own name."""
    fit: FitSystem | None = None
    """Takes artifacts, settings and a folder, writes what `load` reads, returns the facts of its stage; None for the
    generator, with a prior or without, which the stages of the language model make."""
    data_needs: tuple[DataNeed, ...] = ()
    """What the data must have."""
    needs: tuple[str, ...] = ("catalog",)
    """The stages that it is made from; those of other systems are made wherever it is, and one made from ``sids`` knows
    items that were appended, too."""
    describe_cost: Callable[[Any], str] = lambda settings: ""
    """What `plan` says, from the settings."""
    sids_stage: str = "sids"
    """The stage of the SIDs that it writes, if it writes any: the run's, or another that stands in ``needs``, or its
    own."""
    describe_sids: DescribeSids | None = None
    """From its settings and the recipe's ``sids``, how the SIDs of ``sids_stage`` are made, which are its alone; None
    where another stage makes them."""

    @property
    def writes_sids(self) -> bool:
        """Whether its lists are beams."""
        return self.fit is None or self.sids_stage in (*self.needs, self.name)

    @property
    def knows_appended(self) -> bool:
        """Whether it knows items that were appended to the run, which have SIDs of the run alone."""
        return self.fit is None or "sids" in self.needs

    def check_data(self, inputs: SystemInputs) -> None:
        """Raise `CatalogError` where the data lacks what the system needs."""
        has: dict[DataNeed, Callable[[], bool]] = {
            DataNeed.TIMESTAMPS: lambda: inputs.histories.times is not None,
            DataNeed.ATTRIBUTES: lambda: len(inputs.item_attributes) > 0,
        }
        if lacking := [need for need in self.data_needs if not has[need]()]:
            raise CatalogError(
                f"{self.label} needs {' and '.join(lacking)}, and this data has none; leave {self.name} out of "
                "evaluate.systems, or add them."
            )
