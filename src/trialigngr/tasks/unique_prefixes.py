"""How far a SID must be written until it can be no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def shortest_unique_prefixes(sids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the shortest beginning of each SID that no other SID has."""
    begun = Counter(sid[:length] for sid in {tuple(sid) for sid in sids} for length in range(1, len(sid) + 1))
    lengths = [next((n for n in range(1, len(sid)) if begun[tuple(sid[:n])] == 1), len(sid)) for sid in sids]
    return [list(sid[:length]) for sid, length in zip(sids, lengths, strict=True)]
