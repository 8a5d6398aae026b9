"""Encoders whose networks install as packages: MiniLM for texts, EfficientNet and measured features for pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from trialigngr.embed.encoder import Encoder, Modality, encode_present
from trialigngr.images import visual_features
from trialigngr.images.colors import Float32Array


class MiniLMEncoder:
    """all-MiniLM-L6-v2 on the text."""

    name = "all-MiniLM-L6-v2"
    modality: Modality = "text"
    weight = 1.0

    def __init__(self, device: str = "auto") -> None:
        from trialigngr.pretrained import minilm

        self._embed, self.device, self.dimension = minilm.embed_texts, device, minilm.DIMENSION

    def encode(self, texts: Sequence[str], images: Sequence[Image.Image | None]) -> Float32Array:
        """Return unit vectors [B, 384] of the texts, cut at 512 tokens."""
        return self._embed(texts, self.device)


class EfficientNetEncoder:
    """EfficientNet-lite2's pooled features: what kind of thing the picture shows."""

    name = "efficientnet-lite2"
    modality: Modality = "picture"
    weight = 1.0

    def __init__(self, device: str = "auto") -> None:
        from trialigngr.pretrained import efficientnet

        self._network, self.dimension = efficientnet.load_efficientnet(device), efficientnet.DIMENSION

    def encode(self, texts: Sequence[str], images: Sequence[Image.Image | None]) -> Float32Array:
        """Return features [B, 1280] of the pictures."""
        return encode_present(images, self.dimension, self._network.extract_features)


class VisualFeatureEncoder:
    """Measured colours, light, outline and pattern: what the classifier was trained to ignore."""

    name = "looks"
    modality: Modality = "picture"
    weight = 0.5
    dimension = visual_features.DIMENSION

    def encode(self, texts: Sequence[str], images: Sequence[Image.Image | None]) -> Float32Array:
        """Return measurements [B, 106] of the pictures."""
        return encode_present(
            images,
            self.dimension,
            lambda some: np.stack([visual_features.measure_image(one).to_vector() for one in some]),
        )


def load_packaged_encoders(device: str) -> list[Encoder]:
    """Return the encoder of texts, and those of pictures."""
    return [MiniLMEncoder(device), *load_packaged_image_encoders(device)]


def load_packaged_image_encoders(device: str) -> list[Encoder]:
    """Return the encoders of pictures."""
    return [EfficientNetEncoder(device), VisualFeatureEncoder()]
