"""MACRec: its generator over the SIDs of text and of pictures, and its lists by one modality alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trialigngr.systems.spec import Facts, SidInputs

if TYPE_CHECKING:
    from trialigngr.seq2seq.joined_lists import JoinedSystem
    from trialigngr.seq2seq.macrec import TwoSids
    from trialigngr.seq2seq.settings import MacRecGeneratorSettings

NAME = "macrec"
SIDS_STAGE = "macrec_sids"


def fit_macrec(inputs: SidInputs, settings: MacRecGeneratorSettings, out: Path) -> Facts:
    """Train the generator."""
    from trialigngr.seq2seq.macrec import MacRecData, train_macrec

    data = MacRecData(inputs.histories, _load_sids(inputs), inputs.sample_targets("valid", settings.validate_users))
    return train_macrec(NAME, settings, data, inputs.root_seed, out, inputs.device)


def load_macrec(inputs: SidInputs, folder: Path) -> JoinedSystem:
    """Read what `fit_macrec` wrote."""
    from trialigngr.seq2seq.macrec import MacRecGenerator, build_searches, join_searches
    from trialigngr.seq2seq.settings import MacRecGeneratorSettings

    sids = _load_sids(inputs)
    own = MacRecGenerator.load(NAME, MacRecGeneratorSettings, folder, sids.sizes, inputs.device)
    searches = build_searches(own, sids, inputs.decode)
    return join_searches(NAME, [*searches.values()], own.settings.join, own)


def _load_sids(inputs: SidInputs) -> TwoSids:
    from trialigngr.seq2seq.macrec import TwoSids

    return TwoSids.pair(inputs.load_sids(SIDS_STAGE), inputs.load_sids(f"{SIDS_STAGE}/images"))


def fit_nothing(_inputs: SidInputs, _settings: None, _out: Path) -> Facts:
    """Write nothing: what is ranked by is MACRec's."""
    return {}


def load_macrec_text(inputs: SidInputs, _folder: Path) -> JoinedSystem:
    """Return MACRec that writes the SIDs of text alone."""
    return _load_variant(inputs, "macrec_text", slice(0, 1))


def load_macrec_image(inputs: SidInputs, _folder: Path) -> JoinedSystem:
    """Return MACRec that writes the SIDs of pictures alone."""
    return _load_variant(inputs, "macrec_image", slice(1, 2))


def load_macrec_mixture(inputs: SidInputs, _folder: Path) -> JoinedSystem:
    """Return MACRec whose lists are joined as a mixture of probabilities."""
    return _load_variant(inputs, "macrec_mixture", slice(0, 2))


def _load_variant(inputs: SidInputs, name: str, part: slice) -> JoinedSystem:
    from trialigngr.seq2seq.joined_lists import JoinedSystem, mix_probabilities

    whole = inputs.load_system(NAME)
    assert isinstance(whole, JoinedSystem)  # noqa: S101  # what `load_macrec` returns
    return JoinedSystem(name, whole.searches[part], mix_probabilities, whole.num_items, whole.max_history)
