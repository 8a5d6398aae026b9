"""ETEGRec: SIDs that are learned with the generator that writes them, from SASRec's item vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trialigngr.seq2seq.settings import EtegRecSettings
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.systems.spec import Facts, SidInputs

if TYPE_CHECKING:
    from trialigngr.systems.generator import GeneratorSystem

NAME = "etegrec"


def fit_etegrec(inputs: SidInputs, settings: EtegRecSettings, out: Path) -> Facts:
    """Train tokenizer and generator."""
    from trialigngr.seq2seq.etegrec import EtegRecData, train_etegrec
    from trialigngr.sequential.network import NetworkScorer
    from trialigngr.systems.priors import find_scorer

    scorer = find_scorer(inputs.load_system("sasrec"))
    assert isinstance(scorer, NetworkScorer)  # noqa: S101  # SASRec is one
    valid = inputs.sample_targets("valid", settings.validate_users)
    data = EtegRecData(inputs.histories, inputs.catalog.item_ids, scorer.item_vectors, valid)
    return train_etegrec(NAME, settings, data, inputs.root_seed, out, inputs.device)


def load_etegrec(inputs: SidInputs, folder: Path) -> GeneratorSystem:
    """Read what `fit_etegrec` wrote."""
    from trialigngr.systems.generator import load_seq2seq

    return load_seq2seq(NAME, EtegRecSettings, inputs, SemanticIds.load(folder), folder)
