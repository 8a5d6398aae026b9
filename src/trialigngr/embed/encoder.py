"""`Encoder`: texts and pictures in, vectors out. One that sees both is f_mm of Eq. 2; others are fused late."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from trialigngr.images.colors import Float32Array

Modality = Literal["text", "picture", "both"]


class Encoder(Protocol):
    """Gives one block of an item's vector.

    Attributes:
        name: recorded in the facts.
        dimension: D of the block.
        sees: what it looks at; a row it sees nothing of is zeros.
        share: its weight among encoders that see the same.

    """

    name: str
    dimension: int
    modality: Modality
    weight: float

    def encode(self, texts: Sequence[str], images: Sequence[Image.Image | None]) -> npt.NDArray[np.float32]:
        """Return vectors float32 [B, D], in order; zeros where there is nothing to see."""
        ...


def encode_present(
    images: Sequence[Image.Image | None], dimension: int, encode: Callable[[list[Image.Image]], Float32Array]
) -> Float32Array:
    """Return vectors [B, D] by ``encode`` of the pictures that there are, zeros elsewhere."""
    vectors_BD = np.zeros((len(images), dimension), np.float32)
    rows = [row for row, picture in enumerate(images) if picture is not None]
    if rows:
        vectors_BD[rows] = encode([picture for picture in images if picture is not None])
    return vectors_BD
