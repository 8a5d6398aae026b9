"""Stage ``data``: the tables of a data folder at an address, brought into the run once."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import cast

from trialigngr.datasets.remote import DataAddress, download_tables
from trialigngr.foundation.config import Settings
from trialigngr.pipeline.stage_graph import NOTHING, Facts, StageContext, StageSpec, need


def build_data(context: StageContext, out: Path) -> Facts:
    """Read the tables."""
    address = cast(DataAddress, context.data)
    return {"address": address.url, "rows": download_tables(address, out)}


def hash_address(context: StageContext) -> Mapping[str, str]:
    """Return the hash of the address; what lies there counts as read."""
    if not isinstance(context.data, DataAddress):
        return NOTHING
    return {"address": sha256(context.data.url.encode()).hexdigest()[:16]}


SPEC = StageSpec(
    name="data",
    settings=lambda context: Settings(),
    needs=need(),
    build=build_data,
    is_wanted=lambda context: isinstance(context.data, DataAddress),
    hash_inputs=hash_address,
    cost_line=lambda recipe: "reads two tables from their address",
)
