"""Item embeddings e_i (Eq. 2): one float32 unit vector for every item, in row order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image
from safetensors.numpy import load_file, save_file

from trialigngr.catalog.items import Catalog
from trialigngr.embed.chunks import EmbeddingChunk, EncoderInfo, NamedArrays, concatenate_chunks, make_chunk_store
from trialigngr.embed.encoder import Encoder, Modality
from trialigngr.embed.encoders import start_encoders
from trialigngr.embed.fusion import EncoderBlock, Fusion, l2_normalize
from trialigngr.embed.settings import EmbedSettings
from trialigngr.embed.text import make_enriched_text
from trialigngr.foundation.artifact import check_file, read_manifest
from trialigngr.foundation.chunks import ChunkStore, map_chunks, split_rows
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArtifactError, ImageError
from trialigngr.foundation.executor import LOCAL_EXECUTION, RaySettings
from trialigngr.foundation.files import whole_file
from trialigngr.foundation.tables import read_table, write_table
from trialigngr.images.colors import Float32Array
from trialigngr.images.patterns import BoolArray

EMBEDDINGS_FILE = "embeddings.safetensors"
TEXTS_FILE = "texts.parquet"
FUSION_FILE = "fusion.safetensors"
TEXTS_SCHEMA = {"item_id": pl.String, "text": pl.String}
COLLABORATIVE = "collaborative"
CHUNK_SIZE = 512


def make_item_texts(
    settings: EmbedSettings, catalog: Catalog, captions: Sequence[str | None], tags: Sequence[list[str]]
) -> list[str]:
    """Return the enriched text of every item as the settings want it."""
    if not len(captions) == len(tags) == len(catalog):
        raise ArtifactError(
            f"{len(captions)} captions and {len(tags)} lists of tags do not fit {len(catalog)} items; enrich again."
        )
    return [
        make_enriched_text(
            item,
            tags[row] if settings.use_interests else (),
            captions[row] if settings.use_captions else None,
            settings.text_order,
        )
        for row, item in enumerate(catalog)
    ]


def write_embeddings(
    settings: EmbedSettings,
    catalog: Catalog,
    captions: Sequence[str | None],
    tags: Sequence[list[str]],
    out: Path,
    fusion: Fusion | None = None,
    ray: RaySettings = LOCAL_EXECUTION,
    collaborative_ND: Float32Array | None = None,
) -> dict[str, Any]:
    """Write ``embeddings.safetensors``, ``texts.parquet`` (item_id, text as embedded) and ``fusion.safetensors``;
    return the facts.

    The tensors are ``embeddings`` float32 [N, D], unit rows in row order, and ``has_image`` bool [N]. Items that come
    later are given the ``fusion`` of those before them, so that their vectors stand in the same space.
    ``collaborative_ND`` is asked for where ``collaborative_weight`` is above 0, but not of items that come later.
    Finished chunks survive a kill in ``chunks/`` until the whole is written. A picture that cannot be used leaves its
    item as one without a picture, and is counted. Vectors that are not finite are refused (`ArtifactError`).
    """
    if not len(catalog):
        raise ArtifactError("There is no item to embed; the catalogue is empty.")
    texts = make_item_texts(settings, catalog, captions, tags)
    store = make_chunk_store(out / "chunks")
    whole = _encode_all(settings, catalog, texts, store, ray)
    has_image_N = whole.arrays["has_image"].astype(np.bool_)
    blocks = {seen.name: _make_block(settings, seen, whole, has_image_N) for seen in whole.encoders}
    if settings.collaborative_weight:
        blocks[COLLABORATIVE] = _make_collaborative_block(settings, collaborative_ND, len(catalog), fusion)
    fusion = fusion or Fusion.fit(blocks, settings.reduction, settings.reduction_dim)
    embeddings_ND, modalities = fusion(blocks), {seen.name: seen.modality for seen in whole.encoders}
    _warn_unused_images(settings, catalog, modalities)
    _check_finite(embeddings_ND, "the fused vectors")
    with whole_file(out / EMBEDDINGS_FILE) as half:
        save_file({"embeddings": embeddings_ND, "has_image": has_image_N}, half)
    fusion.save(out / FUSION_FILE)
    write_table(pl.DataFrame({"item_id": catalog.item_ids, "text": texts}, schema=TEXTS_SCHEMA), out / TEXTS_FILE)
    store.remove()
    return {
        "encoders": list(blocks),
        "modalities": {name: modalities.get(name, "log") for name in blocks},
        "items": len(catalog),
        "dimensions": embeddings_ND.shape[1],
        "items_with_image": int(has_image_N.sum()),
        "failed_images": dict(whole.failed_images.most_common()),
    }


def _encode_all(
    settings: EmbedSettings, catalog: Catalog, texts: Sequence[str], store: ChunkStore[EmbeddingChunk], ray: RaySettings
) -> EmbeddingChunk:
    """Return all vectors; chunks that are stored already are not encoded again."""
    # A worker elsewhere stands in another folder than this process.
    own = replace(catalog, root=catalog.root.absolute()) if settings.use_images else None
    chunks = map_chunks(
        partial(_make_encode_function, settings, own),
        split_rows(len(catalog), CHUNK_SIZE),
        lambda rows: (rows, texts[rows.start : rows.stop]),
        store,
        ray,
        "Embedding items",
    )
    return concatenate_chunks(list(chunks))


def _make_encode_function(
    settings: EmbedSettings, catalog: Catalog | None
) -> Callable[[tuple[range, Sequence[str]]], EmbeddingChunk]:
    """Return what turns rows and their texts into a chunk; the encoders are loaded here."""
    encoders = start_encoders(settings)
    seen = catalog if any(one.modality != "text" for one in encoders) else None
    return lambda block: _encode_chunk(encoders, seen, *block)


def _encode_chunk(
    encoders: Sequence[Encoder], catalog: Catalog | None, rows: range, texts: Sequence[str]
) -> EmbeddingChunk:
    """Return each encoder's block for the rows; without a catalogue no picture is opened."""
    pictures: list[Image.Image | None] = [None] * len(rows)
    failed = Counter[str]()
    for place, row in enumerate(rows):
        try:
            pictures[place] = catalog.open_image(row) if catalog is not None else None
        except ImageError as error:
            failed[error.reason] += 1
    arrays: NamedArrays = {"has_image": np.array([picture is not None for picture in pictures])}
    for encoder in encoders:
        arrays[encoder.name] = encoder.encode(texts, pictures)
        _check_finite(arrays[encoder.name], f"{encoder.name}, items {rows.start} to {rows.stop - 1},")
    return EmbeddingChunk(
        arrays, [EncoderInfo(encoder.name, encoder.modality, encoder.weight) for encoder in encoders], failed
    )


def _make_block(
    settings: EmbedSettings, encoder: EncoderInfo, whole: EmbeddingChunk, has_image_N: BoolArray
) -> EncoderBlock:
    vectors_ND = whole.arrays[encoder.name].astype(np.float32, copy=False)
    if encoder.modality != "picture":
        everywhere_N = np.ones(len(vectors_ND), np.bool_)
        return EncoderBlock(vectors_ND, everywhere_N, 1.0, center=settings.center and encoder.modality == "text")
    weight, most = settings.image_weight * encoder.weight, settings.image_dimensions or None
    return EncoderBlock(vectors_ND, has_image_N, weight, most, settings.center)


def _make_collaborative_block(
    settings: EmbedSettings, vectors_ND: Float32Array | None, num_items: int, fusion: Fusion | None
) -> EncoderBlock:
    """Return the block of what the log says; of items that it does not know yet, nothing, as wide as the fusion's."""
    if vectors_ND is None:
        if fusion is None:
            raise ArtifactError("embeddings.collaborative_weight needs a log; there are only items here.")
        vectors_ND = np.zeros((num_items, len(fusion.transforms[COLLABORATIVE].mean_D)), np.float32)
    known_N: BoolArray = np.any(vectors_ND, axis=1)
    return EncoderBlock(vectors_ND, known_N, settings.collaborative_weight, center=settings.center)


def _warn_unused_images(settings: EmbedSettings, catalog: Catalog, modalities: dict[str, Modality]) -> None:
    """Say that there are pictures and nobody to see them."""
    given = catalog.table["image_path"].count()
    if settings.use_images and given and "picture" not in modalities.values() and "both" not in modalities.values():
        log(
            f"The pictures of {given:,} items are in no vector: {', '.join(modalities)} reads text alone. "
            "embeddings.image_encoder names who sees them; embeddings.use_images = false says that nobody shall."
        )


def _check_finite(vectors: npt.NDArray[Any], whose: str) -> None:
    if not np.isfinite(vectors).all():
        raise ArtifactError(
            f"{whose[:1].upper()}{whose[1:]} hold NaN or infinity; check the encoder and its precision."
        )


def load_embeddings(folder: Path) -> Float32Array:
    """Return the embeddings float32 [N, D] in row order."""
    embeddings_ND: Float32Array = load_file(check_file(folder / EMBEDDINGS_FILE))["embeddings"]
    _check_finite(embeddings_ND, f"{folder / EMBEDDINGS_FILE}")
    return embeddings_ND


def load_modalities(folder: Path) -> tuple[Float32Array, Float32Array]:
    """Return what the embeddings hold of the text and of the pictures, unit rows [N, D] and [N, E].

    An item without a picture has the mean picture (zeros where no item has one). Raises `ArtifactError` where an
    encoder sees both.
    """
    embeddings_ND, fusion = load_embeddings(folder), Fusion.load(folder / FUSION_FILE)
    block_widths = fusion.block_widths()
    modalities = read_manifest(folder).facts["modalities"]
    columns = np.repeat([modalities[name] for name in block_widths], list(block_widths.values()))
    if fusion.pca is not None:
        raise ArtifactError(
            f"The embeddings in {folder} were reduced as a whole; a quantizer that pairs text with pictures needs "
            "embeddings.reduction = none."
        )
    if "both" in columns:
        raise ArtifactError(
            f"The embeddings in {folder} do not hold text and pictures apart ({', '.join(block_widths)}); "
            "a quantizer that pairs both needs encoders of one modality each."
        )
    text_ND, pictures_NE = embeddings_ND[:, columns == "text"], embeddings_ND[:, columns == "picture"]
    return l2_normalize(text_ND), _fill_with_mean(l2_normalize(pictures_NE))


def load_image_mask(folder: Path) -> BoolArray:
    """Return which items had a picture that could be opened [N]."""
    return load_file(check_file(folder / EMBEDDINGS_FILE))["has_image"].astype(np.bool_)


def _fill_with_mean(pictures_NE: Float32Array) -> Float32Array:
    """Return the rows with those of zeros, items without a picture, replaced by the unit mean of the others."""
    absent_N = ~pictures_NE.any(1)
    if absent_N.all():
        return pictures_NE
    filled_NE = pictures_NE.copy()
    filled_NE[absent_N] = l2_normalize(pictures_NE[~absent_N].mean(0, keepdims=True))
    return filled_NE


def load_texts(folder: Path) -> list[str]:
    """Return the enriched texts as they were embedded, in row order."""
    texts: list[str] = read_table(check_file(folder / TEXTS_FILE), ["text"])["text"].to_list()
    return texts
