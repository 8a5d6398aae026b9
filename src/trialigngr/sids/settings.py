"""The settings of the SIDs stage."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from trialigngr.foundation.config import Settings
from trialigngr.sids.quantizers.settings import (
    BalancedSettings,
    FsqSettings,
    KMeansSettings,
    LetterSettings,
    MacRecSettings,
    OpqSettings,
    PublishedSettings,
    RqKMeansPlusSettings,
    RqVaeSettings,
)

CollisionPolicy = Literal["keep", "nearest_free", "sinkhorn", "extra_level"]
CodebookSize = Annotated[int, Field(ge=1, le=1 << 20)]
QuantizerName = Literal[
    "rqvae", "rqkmeans", "rqkmeans_balanced", "rqkmeans_plus", "opq", "fsq", "letter", "macrec", "published"
]


class SidSettings(Settings):
    """How embeddings become SIDs."""

    quantizer: QuantizerName = "rqvae"
    """Which quantizer; its own settings stand in the table of the same name."""
    codebook_sizes: tuple[CodebookSize, ...] = Field((4096, 2048, 1024), min_length=1, max_length=8)
    """Codebook sizes, coarse to fine (the paper's); a catalogue of fewer items makes them smaller."""
    collision_policy: CollisionPolicy = "nearest_free"
    """What happens to items that share a SID."""
    held_out_ratio: float = Field(0.1, ge=0, lt=1)
    """Share of items that a second fit leaves out, to say how well items it has not seen are kept; 0 fits once."""
    seed: int = 0
    """Root of every random choice of this stage."""
    rqvae: RqVaeSettings = RqVaeSettings()
    """Settings of `rqvae`."""
    rqkmeans: KMeansSettings = KMeansSettings()
    """Settings of `rqkmeans`."""
    rqkmeans_balanced: BalancedSettings = BalancedSettings()
    """Settings of `rqkmeans_balanced`."""
    rqkmeans_plus: RqKMeansPlusSettings = RqKMeansPlusSettings()
    """Settings of `rqkmeans_plus`."""
    opq: OpqSettings = OpqSettings()
    """Settings of `opq`."""
    fsq: FsqSettings = FsqSettings()
    """Settings of `fsq`."""
    letter: LetterSettings = LetterSettings()
    """Settings of `letter`."""
    macrec: MacRecSettings = MacRecSettings()
    """Settings of `macrec`."""
    # Left out where it says nothing, so that SIDs that were made before it was there stay what they are.
    published: PublishedSettings = Field(PublishedSettings(), exclude_if=lambda own: own == PublishedSettings())
    """Settings of `published`, which fits nothing."""

    def keep_used(self) -> SidSettings:
        """Return the same without what is set of other quantizers than the one that is used."""
        unused = {*get_args(QuantizerName)} - {self.quantizer}
        return SidSettings(**{name: value for name, value in self if name not in unused})
