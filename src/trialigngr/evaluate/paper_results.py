"""The rows of the paper's Tables 2 and 7 that stand beside ours, found by the size of the data set.

Facts of arXiv 2605.05249 v3. The same split and size do not make the same experiment: `PAPER_NOTE` is printed with
them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

PAPER_METRICS = ("HR@5", "HR@10", "NDCG@5", "NDCG@10")
SHOWN_ROWS = ("SASRec", "TIGER", "TriAlignGR")
"""What stands below every table."""
PAPER_NOTE = (
    "the paper's own figures (arXiv 2605.05249, Table 2), not ours: a 7B backbone, three seeds, pictures and texts "
    "that are not public; it does not say how it counts items that share a SID or seen items, and names no history cap"
)
_PAPER_ROWS: dict[tuple[int, int, int], tuple[str, dict[str, tuple[float, float, float, float]]]] = {
    (22363, 12101, 198502): (
        "Amazon Beauty",
        {
            "GRU4Rec": (0.0312, 0.0518, 0.0189, 0.0256),
            "Caser": (0.0287, 0.0483, 0.0171, 0.0234),
            "HGN": (0.0335, 0.0549, 0.0201, 0.0271),
            "SASRec": (0.0398, 0.0645, 0.0241, 0.0323),
            "BERT4Rec": (0.0421, 0.0682, 0.0256, 0.0342),
            "S3-Rec": (0.0445, 0.0718, 0.0271, 0.0361),
            "FDSA": (0.0432, 0.0698, 0.0263, 0.0351),
            "TIGER": (0.0487, 0.0763, 0.0302, 0.0395),
            "LC-Rec": (0.0523, 0.0821, 0.0328, 0.0428),
            "HSTU": (0.0578, 0.0897, 0.0368, 0.0476),
            "MiniOneRec": (0.0612, 0.0945, 0.0389, 0.0502),
            "BIGRec": (0.0534, 0.0839, 0.0336, 0.0439),
            "D3": (0.0498, 0.0785, 0.0312, 0.0409),
            "S-DPO": (0.0589, 0.0918, 0.0372, 0.0483),
            "LETTER": (0.0411, 0.0730, 0.0374, 0.0429),
            "ETEGRec": (0.0408, 0.0800, 0.0317, 0.0344),
            "SIDReasoner": (0.0623, 0.0968, 0.0401, 0.0518),
            "TriAlignGR": (0.0708, 0.1089, 0.0453, 0.0581),
        },
    ),
    (35598, 18357, 296337): (
        "Amazon Sports",
        {
            "GRU4Rec": (0.0198, 0.0324, 0.0118, 0.0161),
            "Caser": (0.0175, 0.0291, 0.0103, 0.0142),
            "HGN": (0.0212, 0.0348, 0.0126, 0.0172),
            "SASRec": (0.0248, 0.0401, 0.0149, 0.0201),
            "BERT4Rec": (0.0267, 0.0432, 0.0161, 0.0217),
            "S3-Rec": (0.0283, 0.0457, 0.0171, 0.0230),
            "FDSA": (0.0274, 0.0443, 0.0165, 0.0223),
            "TIGER": (0.0312, 0.0498, 0.0192, 0.0256),
            "LC-Rec": (0.0341, 0.0543, 0.0212, 0.0281),
            "HSTU": (0.0385, 0.0611, 0.0241, 0.0318),
            "MiniOneRec": (0.0398, 0.0627, 0.0251, 0.0330),
            "BIGRec": (0.0349, 0.0556, 0.0218, 0.0289),
            "D3": (0.0325, 0.0519, 0.0202, 0.0269),
            "S-DPO": (0.0385, 0.0609, 0.0242, 0.0319),
            "LETTER": (0.0266, 0.0567, 0.0209, 0.0223),
            "ETEGRec": (0.0369, 0.0594, 0.0215, 0.0321),
            "SIDReasoner": (0.0412, 0.0648, 0.0261, 0.0342),
            "TriAlignGR": (0.0468, 0.0731, 0.0301, 0.0392),
        },
    ),
    (24772, 9922, 206153): (
        "Amazon Instruments",
        {
            "GRU4Rec": (0.0285, 0.0467, 0.0172, 0.0231),
            "Caser": (0.0261, 0.0432, 0.0156, 0.0212),
            "HGN": (0.0302, 0.0495, 0.0183, 0.0246),
            "SASRec": (0.0361, 0.0583, 0.0218, 0.0292),
            "BERT4Rec": (0.0385, 0.0621, 0.0233, 0.0312),
            "S3-Rec": (0.0407, 0.0656, 0.0247, 0.0330),
            "FDSA": (0.0394, 0.0636, 0.0239, 0.0320),
            "TIGER": (0.0445, 0.0712, 0.0273, 0.0362),
            "LC-Rec": (0.0478, 0.0765, 0.0295, 0.0390),
            "HSTU": (0.0532, 0.0845, 0.0335, 0.0438),
            "MiniOneRec": (0.0556, 0.0878, 0.0347, 0.0455),
            "BIGRec": (0.0487, 0.0779, 0.0302, 0.0399),
            "D3": (0.0456, 0.0732, 0.0282, 0.0374),
            "S-DPO": (0.0537, 0.0852, 0.0334, 0.0440),
            "LETTER": (0.0483, 0.0739, 0.0299, 0.0398),
            "ETEGRec": (0.0491, 0.0825, 0.0312, 0.0321),
            "SIDReasoner": (0.0571, 0.0895, 0.0356, 0.0463),
            "TriAlignGR": (0.0648, 0.1012, 0.0411, 0.0534),
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


def find_paper_rows(data_size: Mapping[str, int], labels: Collection[str] = ()) -> PaperRows | None:
    """Return the paper's rows for a data set of these ``users``, ``items``, ``interactions``: `SHOWN_ROWS`, and those
    of the systems whose ``labels`` stand in our table. None for another data set."""
    found = _PAPER_ROWS.get((data_size["users"], data_size["items"], data_size["interactions"]))
    if found is None:
        return None
    name, rows = found
    shown = {system: row for system, row in rows.items() if system in SHOWN_ROWS or system in labels}
    return PaperRows(name, {system: dict(zip(PAPER_METRICS, row, strict=True)) for system, row in shown.items()})


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
