"""Twenty users who go round a circle of items, as what any system is fitted on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from tests.support.histories import histories
from trialigngr.catalog.histories import Histories, Split, Targets
from trialigngr.catalog.item_attributes import ItemAttributes, build_item_attributes
from trialigngr.decode.settings import DecodeSettings
from trialigngr.evaluate.system import System
from trialigngr.evaluate.target_ranks import ITEM
from trialigngr.metrics.ranks import Ranks
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.systems.registry import SYSTEMS
from trialigngr.systems.spec import Facts

N = 24
SMALL: dict[str, Any] = {
    "hidden_size": 16, "dropout": 0.0, "batch_size": 8, "epochs": 40, "patience": 40, "learning_rate": 1e-2,
    "max_history": 6, "num_negatives": 16, "pretrain_epochs": 4, "num_layers": 1, "mask_ratio": 0.3,
    "ffn_size": 32, "num_heads": 2,
}  # fmt: skip
"""Settings of networks, of those that have them."""
SEQ2SEQ: dict[str, Any] = {
    "hidden_size": 32, "learning_rate": 3e-3, "batch_size": 16, "epochs": 15, "max_history": 2
}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    "tiger": SEQ2SEQ,
    "letter": SEQ2SEQ,
    "macrec": SEQ2SEQ | {"epochs": 12},
    "etegrec": SEQ2SEQ | {"epochs": 20, "finish_epochs": 16, "finish_learning_rate": 3e-3},
}


def build_circle() -> Histories:
    """Return the histories: everybody takes 6 to 13 items in their order, from anywhere, one a day or two."""
    random = np.random.default_rng(0)
    lengths = random.integers(6, 14, 20)
    log = histories(*[[(6 * user // 5 + step) % N for step in range(n)] for user, n in enumerate(lengths)])
    return replace(log, times=np.cumsum(random.integers(86_400, 200_000, len(log.items))))


def build_attributes() -> ItemAttributes:
    """Return brands and categories; the last item has none."""
    categories = [[f"c{row % 4}", f"d{row % 5}"] for row in range(N - 1)]
    brands = [f"b{row % 3}" for row in range(N - 1)]
    return build_item_attributes(pl.DataFrame({"brand": [*brands, None], "categories": [*categories, []]}))


def build_sids() -> SemanticIds:
    """Return SIDs of three levels that no two items share."""
    rows = np.arange(N)
    return SemanticIds(
        [str(row) for row in rows], np.stack([rows % 4, rows // 4 % 3, rows // 12], 1, dtype=np.int32), (4, 3, 2)
    )


class CircleItems:
    """The items, of which nothing is known."""

    item_ids = tuple(map(str, range(N)))

    def __len__(self) -> int:
        return N


@dataclass(frozen=True)
class CircleInputs:
    """What a system is fitted and loaded with (`SystemInputs`)."""

    histories: Histories = field(default_factory=build_circle)
    item_attributes: ItemAttributes = field(default_factory=build_attributes)
    catalog: Any = field(default_factory=CircleItems)
    sids: SemanticIds = field(default_factory=build_sids)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    root_seed: int = 0
    device: str = "cpu"
    loaded: dict[str, System] = field(default_factory=dict, init=False)

    def load_sids(self, stage: str) -> SemanticIds:
        """Return the SIDs, whichever stage is asked for."""
        return self.sids

    def load_system(self, name: str) -> System:
        """Return another system, fitted when it is first asked for."""
        if name not in self.loaded:
            with TemporaryDirectory() as folder:
                fit_system(name, Path(folder), self)
                self.loaded[name] = load_system(name, Path(folder), self)
        return self.loaded[name]

    def sample_targets(self, part: Split, num_users: int) -> Targets:
        """Return all targets of a part."""
        return self.histories.list_targets(part)


def choose_settings(name: str, **changes: Any) -> Any:
    """Return the settings of a system, small where it is a network."""
    kind = SYSTEMS[name].settings
    if kind is None:
        return None
    known = {key: value for key, value in (SMALL | OWN.get(name, {}) | changes).items() if key in kind.model_fields}
    return kind(**known)


def fit_system(name: str, out: Path, inputs: CircleInputs, **changes: Any) -> Facts:
    """Fit a system into a folder."""
    out.mkdir(exist_ok=True)
    fit = SYSTEMS[name].fit
    assert fit is not None
    return fit(inputs, choose_settings(name, **changes), out)


def load_system(name: str, folder: Path, inputs: CircleInputs) -> System:
    """Read what `fit_system` wrote."""
    return SYSTEMS[name].load(inputs, folder)


def rank_last_training_items(system: System, log: Histories) -> Ranks:
    """Return where the last item of each training part stands after those before it, which are masked."""
    targets = Targets(np.arange(len(log)), log.valid_from - 1)
    queries = log.build_queries(targets)
    return system.rank_targets(queries, log.target_items(targets), 0, list(queries.items)).ranks[ITEM]
