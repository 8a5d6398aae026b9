"""The rows of the paper's Tables 2 and 7 that stand beside ours, found by the size of the data set.

Facts of arXiv 2605.05249 v3. The same split and size do not make the same experiment: `PAPER_NOTE` is printed with
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PAPER_METRICS = ("HR@5", "HR@10", "NDCG@5", "NDCG@10")
PAPER_NOTE = (
    "the paper's own figures (arXiv 2605.05249, Table 2), not ours: a 7B backbone, three seeds, pictures and texts "
    "that are not public; it does not say how it counts items that share a SID or seen items, and names no history cap"
)
_PAPER_ROWS: dict[tuple[int, int, int], tuple[str, dict[str, tuple[float, float, float, float]]]] = {
    (22363, 12101, 198502): (
        "Amazon Beauty",
        {
            "TriAlignGR": (0.0708, 0.1089, 0.0453, 0.0581),
            "TIGER": (0.0487, 0.0763, 0.0302, 0.0395),
            "SASRec": (0.0398, 0.0645, 0.0241, 0.0323),
        },
    ),
    (35598, 18357, 296337): (
        "Amazon Sports",
        {
            "TriAlignGR": (0.0468, 0.0731, 0.0301, 0.0392),
            "TIGER": (0.0312, 0.0498, 0.0192, 0.0256),
            "SASRec": (0.0248, 0.0401, 0.0149, 0.0201),
        },
    ),
    (24772, 9922, 206153): (
        "Amazon Instruments",
        {
            "TriAlignGR": (0.0648, 0.1012, 0.0411, 0.0534),
            "TIGER": (0.0445, 0.0712, 0.0273, 0.0362),
            "SASRec": (0.0361, 0.0583, 0.0218, 0.0292),
        },
    ),
}
"""(users, items, interactions) → data set, system → figures."""


@dataclass(frozen=True)
class PaperRows:
    """What the paper printed for a data set of this size: system → metric → figure."""

    data_name: str
    rows: Mapping[str, Mapping[str, float]]
    note: str = PAPER_NOTE


def find_paper_rows(data_size: Mapping[str, int]) -> PaperRows | None:
    """Return the paper's rows for a data set of these ``users``, ``items``, ``interactions``; None for another."""
    found = _PAPER_ROWS.get((data_size["users"], data_size["items"], data_size["interactions"]))
    if found is None:
        return None
    name, rows = found
    return PaperRows(name, {system: dict(zip(PAPER_METRICS, row, strict=True)) for system, row in rows.items()})


PAPER_DIAGNOSTICS: dict[str, dict[str, str]] = {
    "text-only": {"category probe": "62.1%", "title BLEU-4": "0.412", "attribute recall": "45.3%"},
    "+CMSA": {"category probe": "68.7%", "title BLEU-4": "0.489", "attribute recall": "52.1%"},
    "+MDIM": {"category probe": "73.2%", "title BLEU-4": "0.556", "attribute recall": "58.4%"},
    "full": {"category probe": "78.3%", "title BLEU-4": "0.623", "attribute recall": "64.7%"},
}
"""The paper's Table 7, which has Amazon Beauty alone: what the SIDs are made from → figures."""
PAPER_DIAGNOSTICS_NOTE = (
    "the paper's own figures (Table 7), not ours: Amazon Beauty, a 7B backbone, its own items and words"
)


def find_paper_diagnostics(data_size: Mapping[str, int], enriched: str) -> Mapping[str, str]:
    """Return the paper's row for what a run's SIDs are made from; nothing for data that is not of Beauty's size."""
    if (data_size["users"], data_size["items"], data_size["interactions"]) != (22363, 12101, 198502):
        return {}
    return PAPER_DIAGNOSTICS[enriched]
