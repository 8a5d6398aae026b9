"""Which encoders there are: by name, with how each is started and looked at beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from trialigngr.embed.encoder import Encoder
from trialigngr.embed.settings import EmbedSettings
from trialigngr.foundation.errors import RecipeError, did_you_mean
from trialigngr.foundation.hub import load_tokenizer, read_config, reason_of


def _start_packaged(settings: EmbedSettings) -> list[Encoder]:
    from trialigngr.embed.packaged_encoders import load_packaged_encoders

    return load_packaged_encoders(settings.device)


def _start_packaged_images(settings: EmbedSettings) -> list[Encoder]:
    from trialigngr.embed.packaged_encoders import load_packaged_image_encoders

    return load_packaged_image_encoders(settings.device)


def _start_gme(settings: EmbedSettings) -> list[Encoder]:
    from trialigngr.embed.gme import GmeEncoder

    return [GmeEncoder(settings)]


def _start_sentence_transformer(settings: EmbedSettings) -> list[Encoder]:
    from trialigngr.embed.sentence_transformer import load_encoders

    return load_encoders(settings)


def _start_sentence_transformer_images(settings: EmbedSettings) -> list[Encoder]:
    from trialigngr.embed.sentence_transformer import load_image_encoder

    return [load_image_encoder(settings)]


EncoderFactory = Callable[[EmbedSettings], list[Encoder]]

ENCODERS: dict[str, EncoderFactory] = {
    "packaged": _start_packaged,
    "gme": _start_gme,
    "sentence-transformers": _start_sentence_transformer,
}
"""Name → how to start the encoders whose blocks make up the vector."""

IMAGE_ENCODERS: dict[str, EncoderFactory] = {
    "packaged": _start_packaged_images,
    "sentence-transformers": _start_sentence_transformer_images,
}
"""Name → how to start those that see the pictures beside an encoder of texts."""


def start_encoders(settings: EmbedSettings) -> list[Encoder]:
    """Return the encoders that the settings name, those of pictures only where pixels are used.

    Raises `RecipeError` when there are none of that name, or when pictures would be seen twice.
    """
    start = _find_encoder(ENCODERS, "embeddings.encoder", settings.encoder)
    if not settings.image_encoder:
        return [one for one in start(settings) if settings.use_images or one.modality != "picture"]
    start_pictures = _find_encoder(IMAGE_ENCODERS, "embeddings.image_encoder", settings.image_encoder)
    own = start(settings)
    if any(one.modality == "both" for one in own):
        raise RecipeError(
            f"embeddings.encoder = {settings.encoder!r} sees pictures together with the text, so no other encoder can "
            "see them beside it; leave embeddings.image_encoder empty."
        )
    texts = [one for one in own if one.modality == "text"]
    return [*texts, *start_pictures(settings)] if settings.use_images else texts


def check_encoders(settings: EmbedSettings) -> None:
    """Raise `RecipeError` when an encoder is not known, or its model not there; no weights are loaded."""
    _find_encoder(ENCODERS, "embeddings.encoder", settings.encoder)
    _check_model(settings.encoder, "model", settings.model)
    if settings.image_encoder:
        _find_encoder(IMAGE_ENCODERS, "embeddings.image_encoder", settings.image_encoder)
        _check_model(settings.image_encoder, "image_model", settings.image_model)


def _check_model(encoder: str, setting: str, model: str) -> None:
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
            load_tokenizer(model)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"embeddings.{setting} = {model!r} cannot be loaded: {reason_of(error)}.") from None


def _refuse_code(modules: Path) -> None:
    """Raise `ValueError` when a folder's model is made of classes that it brings itself; a hub's is not looked at."""
    named = json.loads(modules.read_text(encoding="utf-8")) if modules.is_file() else []
    if not all(str(one["type"]).startswith("sentence_transformers.") for one in named):
        raise ValueError("its modules would need trust_remote_code")


def _find_encoder(known: dict[str, EncoderFactory], setting: str, name: str) -> EncoderFactory:
    if name not in known:
        raise RecipeError(f"{setting} = {name!r}: known are {', '.join(sorted(known))}.{did_you_mean(name, known)}")
    return known[name]
