"""Encoders: texts and pictures in, vectors out. One that sees both is f_mm of Eq. 2; others are fused late."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from trialigngr.embed.settings import EmbedSettings
from trialigngr.foundation.errors import RecipeError, did_you_mean
from trialigngr.foundation.hub import read_config, read_tokenizer, reason_of
from trialigngr.images import looks
from trialigngr.images.colors import Floats

Sight = Literal["text", "picture", "both"]


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
    sees: Sight
    share: float

    def encode(self, texts: Sequence[str], pictures: Sequence[Image.Image | None]) -> npt.NDArray[np.float32]:
        """Return vectors float32 [B, D], in order; zeros where there is nothing to see."""
        ...


def where_there_are(
    pictures: Sequence[Image.Image | None], dimension: int, encode: Callable[[list[Image.Image]], Floats]
) -> Floats:
    """Return vectors [B, D] by ``encode`` of the pictures that there are, zeros elsewhere."""
    vectors_BD = np.zeros((len(pictures), dimension), np.float32)
    rows = [row for row, picture in enumerate(pictures) if picture is not None]
    if rows:
        vectors_BD[rows] = encode([picture for picture in pictures if picture is not None])
    return vectors_BD


class MiniLM:
    """all-MiniLM-L6-v2 on the text."""

    name = "all-MiniLM-L6-v2"
    sees: Sight = "text"
    share = 1.0

    def __init__(self, device: str = "auto") -> None:
        from trialigngr.pretrained import minilm

        self._embed, self.device, self.dimension = minilm.embed_texts, device, minilm.DIMENSION

    def encode(self, texts: Sequence[str], pictures: Sequence[Image.Image | None]) -> Floats:
        """Return unit vectors [B, 384] of the texts, cut at 512 tokens."""
        return self._embed(texts, self.device)


class EfficientNet:
    """EfficientNet-lite2's pooled features: what kind of thing the picture shows."""

    name = "efficientnet-lite2"
    sees: Sight = "picture"
    share = 1.0

    def __init__(self, device: str = "auto") -> None:
        from trialigngr.pretrained import efficientnet

        self._network, self.dimension = efficientnet.load_efficientnet(device), efficientnet.DIMENSION

    def encode(self, texts: Sequence[str], pictures: Sequence[Image.Image | None]) -> Floats:
        """Return features [B, 1280] of the pictures."""
        return where_there_are(pictures, self.dimension, self._network.features)


class Looks:
    """Measured colours, light, outline and pattern: what the classifier was trained to ignore."""

    name = "looks"
    sees: Sight = "picture"
    share = 0.5
    dimension = looks.DIMENSION

    def encode(self, texts: Sequence[str], pictures: Sequence[Image.Image | None]) -> Floats:
        """Return measurements [B, 106] of the pictures."""
        return where_there_are(
            pictures, self.dimension, lambda some: np.stack([looks.measure(one).vector() for one in some])
        )


def _packaged(settings: EmbedSettings) -> list[Encoder]:
    return [MiniLM(settings.device), *_packaged_pictures(settings)]


def _packaged_pictures(settings: EmbedSettings) -> list[Encoder]:
    return [EfficientNet(settings.device), Looks()]


def _gme(settings: EmbedSettings) -> list[Encoder]:
    from trialigngr.embed.gme import Gme

    return [Gme(settings)]


def _sentences(settings: EmbedSettings) -> list[Encoder]:
    from trialigngr.embed.sentences import load_towers

    return load_towers(settings)


def _sentences_pictures(settings: EmbedSettings) -> list[Encoder]:
    from trialigngr.embed.sentences import load_picture_tower

    return [load_picture_tower(settings)]


Start = Callable[[EmbedSettings], list[Encoder]]

ENCODERS: dict[str, Start] = {
    "packaged": _packaged,
    "gme": _gme,
    "sentence-transformers": _sentences,
}
"""Name → how to start the encoders whose blocks make up the vector."""

PICTURE_ENCODERS: dict[str, Start] = {
    "packaged": _packaged_pictures,
    "sentence-transformers": _sentences_pictures,
}
"""Name → how to start those that see the pictures beside an encoder of texts."""


def start_encoders(settings: EmbedSettings) -> list[Encoder]:
    """Return the encoders that the settings name, those of pictures only where pixels are used.

    Raises `RecipeError` when there are none of that name, or when pictures would be seen twice.
    """
    start = _named(ENCODERS, "embeddings.encoder", settings.encoder)
    if not settings.picture_encoder:
        return [one for one in start(settings) if settings.use_pixels or one.sees != "picture"]
    start_pictures = _named(PICTURE_ENCODERS, "embeddings.picture_encoder", settings.picture_encoder)
    own = start(settings)
    if any(one.sees == "both" for one in own):
        raise RecipeError(
            f"embeddings.encoder = {settings.encoder!r} sees pictures together with the text, so no other encoder can "
            "see them beside it; leave embeddings.picture_encoder empty."
        )
    texts = [one for one in own if one.sees == "text"]
    return [*texts, *start_pictures(settings)] if settings.use_pixels else texts


def check_encoders(settings: EmbedSettings) -> None:
    """Raise `RecipeError` when an encoder is not known, or its model not there; no weights are loaded."""
    _named(ENCODERS, "embeddings.encoder", settings.encoder)
    _look(settings.encoder, "model", settings.model)
    if settings.picture_encoder:
        _named(PICTURE_ENCODERS, "embeddings.picture_encoder", settings.picture_encoder)
        _look(settings.picture_encoder, "picture_model", settings.picture_model)


def _look(encoder: str, setting: str, model: str) -> None:
    if encoder == "packaged":
        return
    from sentence_transformers.util import is_sentence_transformer_model

    if not model:
        raise RecipeError(f"The encoder {encoder} needs embeddings.{setting}: a hub name or a local folder.")
    try:
        if encoder == "sentence-transformers" and is_sentence_transformer_model(model):
            return _refuse_code(Path(model) / "modules.json")
        read_config(model)
        if encoder == "gme":
            read_tokenizer(model)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"embeddings.{setting} = {model!r} cannot be loaded: {reason_of(error)}.") from None


def _refuse_code(modules: Path) -> None:
    """Raise `ValueError` when a folder's model is made of classes that it brings itself; a hub's is not looked at."""
    named = json.loads(modules.read_text(encoding="utf-8")) if modules.is_file() else []
    if not all(str(one["type"]).startswith("sentence_transformers.") for one in named):
        raise ValueError("its modules would need trust_remote_code")


def _named(known: dict[str, Start], setting: str, name: str) -> Start:
    if name not in known:
        raise RecipeError(f"{setting} = {name!r}: known are {', '.join(sorted(known))}.{did_you_mean(name, known)}")
    return known[name]
