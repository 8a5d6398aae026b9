from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.images.colors import (
    COLOR_FAMILIES,
    COLOR_NAMES,
    compute_color_shares,
    compute_name_chroma,
    find_nearest_names,
    to_oklab,
)


def test_oklab_of_known_colours() -> None:
    # Ottosson's published values
    lab = to_oklab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8))
    expected = [[1, 0, 0], [0, 0, 0], [0.62796, 0.22486, 0.12585], [0.45201, -0.03246, -0.31153]]
    np.testing.assert_allclose(lab, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("code", "name"),
    [("ffffff", "white"), ("000000", "black"), ("d01818", "red"), ("0a1a50", "navy blue"), ("fff000", "yellow"),
     ("808080", "grey"), ("ff8000", "orange"), ("008080", "teal"), ("ffc0cb", "pink"), ("6b4423", "brown")],
)  # fmt: skip
def test_names_people_would_use(code: str, name: str) -> None:
    colour = to_oklab(np.array([list(bytes.fromhex(code))], np.uint8))
    assert COLOR_NAMES[int(find_nearest_names(colour)[0])] == name


def test_every_name_has_one_family_and_can_be_reached() -> None:
    assert sorted(name for family in COLOR_FAMILIES.values() for name in family) == sorted(COLOR_NAMES)
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 8)] * 3), -1).astype(np.uint8)
    assert set(np.unique(find_nearest_names(to_oklab(grid)))) == set(range(len(COLOR_NAMES)))
    assert compute_name_chroma()[COLOR_NAMES.index("grey")] < 0.01 < compute_name_chroma()[COLOR_NAMES.index("red")]


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), max_size=30))
def test_shares_are_parts_of_one(pixels: list[tuple[int, int, int]]) -> None:
    found = compute_color_shares(to_oklab(np.array(pixels, np.uint8).reshape(-1, 3)))
    assert found.sum() == pytest.approx(1 if pixels else 0, abs=1e-5)
