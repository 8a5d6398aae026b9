"""``preset = "paper"`` lays the paper's values under those that are given."""

from __future__ import annotations

import pytest

from trialigngr.foundation.config import parse_settings
from trialigngr.recipes.recipe import Recipe, read_recipe
from trialigngr.sequential.settings import SequentialSettings
from trialigngr.systems.registry import SYSTEMS

NETWORKS = [name for name, spec in SYSTEMS.items() if issubclass(spec.settings or int, SequentialSettings)]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_preset_is_a_whole_that_is_read_back(name: str) -> None:
    plain, paper = (
        read_recipe("trialigngr-demo", changes).get_system_settings(name) for changes in ([], [f"{name}.preset=paper"])
    )
    changed = {key for key in type(plain).model_fields if getattr(plain, key) != getattr(paper, key)}
    assert changed <= {"preset", *type(plain).PAPER}
    assert {"preset"} < changed
    recipe = read_recipe("trialigngr-demo", [f"{name}.preset=paper", f"{name}.epochs=7"])
    assert recipe.get_system_settings(name).epochs == 7, "what is given wins"
    assert parse_settings(Recipe, recipe.model_dump(mode="json", exclude_none=True), "again") == recipe


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_paper_has_are_settings(name: str) -> None:
    kind = SYSTEMS[name].settings
    assert kind is not None
    assert set(kind.PAPER) <= set(kind.model_fields)  # type: ignore[attr-defined]
