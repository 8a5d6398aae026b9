"""What became of SIDs from one set to another: which items kept theirs, and which kept their company."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trialigngr.foundation.seeds import derive_seed
from trialigngr.sids.collisions import Rows, number_prefixes
from trialigngr.sids.errors import SidError
from trialigngr.sids.prefix_agreement import compute_same_label_share
from trialigngr.sids.quantizers.codebooks import Codes
from trialigngr.sids.semantic_ids import SemanticIds


@dataclass(frozen=True)
class KeptPrefixes:
    """By depth: the share of items with the same first codes, and of the pairs of items with one prefix in the first
    set the share that have one in the second, whatever its codes are. NaN where no pair has one."""

    same_codes: tuple[float, ...]
    pairs_kept: tuple[float, ...]


@dataclass(frozen=True)
class SidChurn:
    """From one set of SIDs to another: items in both, those that are in one alone, and what the former kept; the same
    where the second set's SIDs are dealt to them ``by_chance``."""

    num_common_items: int
    num_gone_items: int
    num_new_items: int
    kept: KeptPrefixes
    by_chance: KeptPrefixes


def measure_churn(before: SemanticIds, after: SemanticIds) -> SidChurn:
    """Return what became of SIDs; depths that one set alone has are left out. Raise `SidError` where no item is in
    both."""
    rows = {item_id: row for row, item_id in enumerate(after.item_ids)}
    common = [(row, rows[item_id]) for row, item_id in enumerate(before.item_ids) if item_id in rows]
    if not common:
        raise SidError(f"The SIDs have no item in common (first: {before.item_ids[:1]}, {after.item_ids[:1]}).")
    before_M, after_M = np.array(common).T
    depth = min(before.num_levels, after.num_levels)
    before_ML, after_ML = before.codes_NL[before_M, :depth], after.codes_NL[after_M, :depth]
    dealt_M = np.random.default_rng(derive_seed(0, "churn by chance")).permutation(len(common))
    return SidChurn(
        len(common), len(before) - len(common), len(after) - len(common),
        _compare_prefixes(before_ML, after_ML), _compare_prefixes(before_ML, after_ML[dealt_M]),
    )  # fmt: skip


def _compare_prefixes(before_ML: Codes, after_ML: Codes) -> KeptPrefixes:
    same_ML = np.logical_and.accumulate(before_ML == after_ML, axis=1)
    groups: zip[tuple[Rows, Rows]] = zip(number_prefixes(before_ML), number_prefixes(after_ML), strict=True)
    return KeptPrefixes(
        tuple(same_ML.mean(0).tolist()), tuple(compute_same_label_share(old_M, new_M) for old_M, new_M in groups)
    )


def format_churn(first: str, churns: Mapping[str, SidChurn]) -> list[str]:
    """Return lines on each set of SIDs that was compared with the ``first``."""
    return [line for name, churn in churns.items() for line in _format_one(first, name, churn)]


def _format_one(first: str, name: str, churn: SidChurn) -> list[str]:
    def row(label: str, own: tuple[float, ...], chance: tuple[float, ...]) -> str:
        shares, by_chance = (" ".join(f"{share:.1%}" for share in shares) for shares in (own, chance))
        return f"  {label}: {shares} (by chance {by_chance})"

    return [
        f"From {first} to {name}: {churn.num_common_items:,} items in both, {churn.num_gone_items:,} gone, "
        f"{churn.num_new_items:,} new.",
        row("items with the same first codes, by depth", churn.kept.same_codes, churn.by_chance.same_codes),
        row("pairs of one prefix that kept one, by depth", churn.kept.pairs_kept, churn.by_chance.pairs_kept),
    ]
