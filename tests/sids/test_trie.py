"""The trie accepts exactly the catalogue: against prefixes counted by hand, and against sets of prefixes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trialigngr.sids.semantic_ids import END_CODE
from trialigngr.sids.trie import Trie

CODES = arrays.arrays(
    np.int32, st.tuples(st.integers(1, 25), st.integers(1, 4)), elements=st.integers(0, 3), fill=st.nothing()
)


@st.composite
def unequal(draw: st.DrawFn) -> npt.NDArray[np.int32]:
    codes_NL = draw(CODES).copy()
    for row in codes_NL:
        row[draw(st.integers(1, len(row))) :] = END_CODE
    return codes_NL


def paths(trie: Trie) -> dict[tuple[int, ...], list[int]]:
    """Return SID → items, read by walking down the children."""
    found = {}

    def walk(depth: int, node: int, prefix: tuple[int, ...]) -> None:
        level = trie.levels[depth]
        prefix = (*prefix, int(level.codes_M[node]))
        if depth + 1 == len(trie.levels):
            found[prefix] = trie.items_at(node).tolist()
            return
        for child in range(level.child_starts[node], level.child_starts[node + 1]):
            assert trie.levels[depth + 1].parent_M[child] == node
            walk(depth + 1, child, prefix)

    for root in range(len(trie.levels[0])):
        walk(0, root, ())
    return found


def test_by_hand():
    trie = Trie.from_codes(np.array([[1, 0], [0, 2], [1, 0], [1, END_CODE]], dtype=np.int32))
    first, second = trie.levels
    assert first.codes_M.tolist() == [0, 1]
    assert first.child_starts.tolist() == [0, 1, 3]
    assert second.codes_M.tolist() == [2, END_CODE, 0]
    assert second.parent_M.tolist() == [0, 1, 1]
    assert second.child_starts.tolist() == [0, 1, 2, 4]
    assert trie.sorted_rows.tolist() == [1, 3, 0, 2]
    assert [trie.items_at(leaf).tolist() for leaf in range(3)] == [[1], [3], [0, 2]]
    assert trie.node_of_item.tolist() == [[1, 0, 1, 1], [2, 0, 2, 1]]
    assert trie.item_counts(0).tolist() == [1, 3]
    assert trie.item_counts(1).tolist() == [1, 1, 2]


@given(unequal())
def test_exactly_the_catalogue(codes_NL: npt.NDArray[np.int32]):
    trie = Trie.from_codes(codes_NL)
    wanted: dict[tuple[int, ...], list[int]] = {}
    for row, codes in enumerate(codes_NL.tolist()):
        wanted.setdefault(tuple(codes), []).append(row)
    found = paths(trie)
    assert found == wanted
    assert list(found) == sorted(found)
    for depth, level in enumerate(trie.levels):
        assert len(level) == len({tuple(codes[: depth + 1]) for codes in codes_NL.tolist()})
        assert trie.item_counts(depth).sum() == len(codes_NL)
        for row, node in enumerate(trie.node_of_item[depth]):
            assert level.codes_M[node] == codes_NL[row, depth]
