from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import CLIPModel as ClipModule
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
)

from trialigngr.catalog.items import ITEM_COLUMNS, Catalog, Item
from trialigngr.embed.embeddings import EMBEDDINGS_FILE, load_embeddings, write_embeddings
from trialigngr.embed.encoders import ENCODERS, start_encoders
from trialigngr.embed.fusion import l2_normalize
from trialigngr.embed.settings import EmbedSettings
from trialigngr.embed.text import MAX_TITLE_CHARACTERS, make_enriched_text
from trialigngr.foundation.errors import RecipeError

COLOURS = ("red", "lime", "blue")
TAGS = [["mug"], ["tea", "lamp"], [], ["lamp"]]


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / "bert").mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "mug", "tea", "red", "lamp"]
    (folder / "bert" / "vocab.txt").write_text("\n".join(words), "utf-8")
    BertTokenizer(str(folder / "bert" / "vocab.txt")).save_pretrained(folder / "bert")
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertModel(config).save_pretrained(folder / "bert")
    network = Transformer(str(folder / "bert"))
    SentenceTransformer(modules=[network, Pooling(16)]).save(str(folder / "model"))
    return folder / "model"


def test_a_text_model_reads_texts(text_model: Path) -> None:
    (encoder,) = start_encoders(EmbedSettings(encoder="sentence-transformers", model=str(text_model), device="cpu"))
    vectors_BD = encoder.encode(["mug tea", "red lamp", "mug tea"], [Image.new("RGB", (9, 9)), None, None])
    assert (encoder.modality, encoder.dimension, vectors_BD.shape) == ("text", 16, (3, 16))
    np.testing.assert_allclose(np.linalg.norm(vectors_BD, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors_BD[0], vectors_BD[2], atol=1e-6)


@pytest.fixture(scope="module")
def clip_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = small | {"vocab_size": 12, "eos_token_id": 1, "bos_token_id": 0, "max_position_embeddings": 12}
    vision = small | {"image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder / "clip")
    words = ["<|startoftext|>", "<|endoftext|>", "mug</w>", "tea</w>", "ug</w>", "ea</w>", "g</w>", "a</w>", *"mute"]
    merges = [("u", "g</w>"), ("m", "ug</w>"), ("e", "a</w>"), ("t", "ea</w>")]
    numbers = {word: number for number, word in enumerate(words)}
    tokenizer = CLIPTokenizer(vocab=numbers, merges=merges, model_max_length=12)
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)
    CLIPProcessor(images, tokenizer).save_pretrained(folder / "clip")
    SentenceTransformer(modules=[ClipModule(str(folder / "clip"))]).save(str(folder / "model"))
    return folder / "model"


def test_a_clip_like_model_is_two_encoders(clip_model: Path) -> None:
    settings = EmbedSettings(encoder="sentence-transformers", model=str(clip_model), device="cpu")
    text, picture = start_encoders(settings)
    assert (text.modality, picture.modality) == ("text", "picture")
    assert text.encode(["mug " * 100, "tea"], [None, None]).shape == (2, 8)
    vectors_BD = picture.encode(["mug", "tea", "mug"], [None, Image.new("RGB", (40, 50), "red"), None])
    np.testing.assert_allclose(np.linalg.norm(vectors_BD, axis=1), [0, 1, 0], atol=1e-5)


@pytest.mark.parametrize("tag", ["tea tea", "tea " * 5])
def test_a_long_title_leaves_the_tags_their_place(clip_model: Path, tag: str) -> None:
    """Twelve tokens, two of them special: what stands behind 200 letters of title would never be read."""
    settings = EmbedSettings(encoder="sentence-transformers", model=str(clip_model), device="cpu")
    tower = start_encoders(settings)[0]
    long = Item("1", "mug " * 100)
    one, other = make_enriched_text(long, [tag]), make_enriched_text(long, ["mug " * len(tag.split())])
    assert len(one.split("\n")[0]) == MAX_TITLE_CHARACTERS - 1
    first, second = tower.encode([one, other], [None, None])
    assert np.abs(first - second).max() > 1e-3
    read = tower._model.tokenizer(tower.trim_title(one), truncation=True, max_length=12)["input_ids"]  # type: ignore[attr-defined]
    tokens = len(tag.split())
    assert read == [0, *[2] * (10 - tokens), *[3] * tokens, 1]


def test_a_title_that_leaves_room_is_not_cut(text_model: Path, clip_model: Path) -> None:
    settings = EmbedSettings(encoder="sentence-transformers", model=str(text_model), device="cpu")
    wide, narrow = (
        start_encoders(settings.model_copy(update={"model": str(one)}))[0] for one in (text_model, clip_model)
    )
    short, alone, halved = "mug tea\nmug\n" + "tea " * 90, "mug " * 90, "mug " * 9 + "\n" + "tea " * 90
    assert [wide.trim_title(text) for text in (short, alone, halved)] == [short, alone, halved]  # type: ignore[attr-defined]
    assert [narrow.trim_title(text) for text in (short, alone)] == [short, alone]  # type: ignore[attr-defined]
    assert narrow.trim_title(halved).split("\n")[0].split() == ["mug"] * 5  # type: ignore[attr-defined]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    (tmp_path / "data").mkdir()
    for colour in COLOURS:
        Image.new("RGB", (40, 50), colour).save(tmp_path / "data" / f"{colour}.png")
    titles = ["mug", "tea mug", "lamp", "red lamp"]
    paths = [*(f"{colour}.png" for colour in COLOURS), None]
    rows = [{"item_id": title, "title": title, "image_path": path} for title, path in zip(titles, paths, strict=True)]
    return Catalog(pl.DataFrame(rows, schema=ITEM_COLUMNS), tmp_path / "data")


def embedded(catalog: Catalog, out: Path, **settings: object) -> dict[str, Any]:
    out.mkdir()
    chosen = EmbedSettings.model_validate({"encoder": "sentence-transformers", "device": "cpu"} | settings)
    return write_embeddings(chosen, catalog, [None] * len(catalog), TAGS, out)


def test_a_text_model_beside_the_packaged_eyes(text_model: Path, catalog: Catalog, tmp_path: Path) -> None:
    facts = embedded(catalog, tmp_path / "out", model=str(text_model), image_encoder="packaged")
    assert list(facts["modalities"].values()) == ["text", "picture", "picture"]
    assert facts["encoders"][1:] == ["efficientnet-lite2", "looks"]
    assert (facts["items_with_image"], facts["dimensions"]) == (3, 16 + 2 + 2)  # three pictures span two directions
    vectors_ND = load_embeddings(tmp_path / "out")
    assert [bool(row.any()) for row in vectors_ND[:, 16:]] == [True, True, True, False]


def test_a_plain_concatenation_is_the_one_made_by_hand(
    text_model: Path, clip_model: Path, catalog: Catalog, tmp_path: Path
) -> None:
    facts = embedded(
        catalog, tmp_path / "out", model=str(text_model), image_encoder="sentence-transformers",
        image_model=str(clip_model), image_dimensions=0, image_weight=1, center=False,
    )  # fmt: skip
    reader, seer = (SentenceTransformer(str(one), device="cpu") for one in (text_model, clip_model))
    texts = [make_enriched_text(item, tags) for item, tags in zip(catalog, TAGS, strict=True)]
    text_ND = reader.encode(texts, normalize_embeddings=True)
    seen_RE = seer.encode([Image.new("RGB", (40, 50), colour) for colour in COLOURS], normalize_embeddings=True)
    by_hand_ND = np.concatenate([text_ND, np.concatenate([seen_RE, np.zeros((1, 8))])], axis=1)
    by_hand_ND[:3] /= np.sqrt(2)
    np.testing.assert_allclose(load_embeddings(tmp_path / "out"), by_hand_ND, atol=1e-6)
    assert (facts["dimensions"], facts["items_with_image"]) == (24, 3)

    embedded(
        catalog, tmp_path / "weighted", model=str(text_model), image_encoder="sentence-transformers",
        image_model=str(clip_model), image_dimensions=0, image_weight=0.5,
    )  # fmt: skip
    seen_NE = np.concatenate([0.5 * l2_normalize(seen_RE - seen_RE.mean(0)), np.zeros((1, 8))])
    centred_ND = l2_normalize(np.concatenate([l2_normalize(text_ND - text_ND.mean(0)), seen_NE], axis=1))
    np.testing.assert_allclose(load_embeddings(tmp_path / "weighted"), centred_ND, atol=1e-5)


def test_pictures_that_nobody_sees_are_not_counted(
    text_model: Path, catalog: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = embedded(catalog, tmp_path / "out", model=str(text_model))
    said = " ".join(capsys.readouterr().err.split())
    assert "The pictures of 3 items are in no vector" in said
    assert "embeddings.image_encoder" in said
    assert (facts["items_with_image"], facts["failed_images"]) == (0, {})
    assert not load_file(tmp_path / "out" / EMBEDDINGS_FILE)["has_image"].any()
    embedded(catalog, tmp_path / "blind", model=str(text_model), image_encoder="packaged", use_images=False)
    assert "are in no vector" not in capsys.readouterr().err
    np.testing.assert_array_equal(load_embeddings(tmp_path / "blind"), load_embeddings(tmp_path / "out"))


def test_mistakes_are_named(text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = EmbedSettings(encoder="sentence-transformers", model=str(text_model), device="cpu")
    with pytest.raises(RecipeError, match="Did you mean 'packaged'"):
        start_encoders(text.model_copy(update={"image_encoder": "packagd"}))
    eyes = text.model_copy(update={"image_encoder": "sentence-transformers"})
    with pytest.raises(RecipeError, match=r"needs embeddings\.image_model"):
        start_encoders(eyes)
    with pytest.raises(RecipeError, match="sees no pictures"):
        start_encoders(eyes.model_copy(update={"image_model": str(text_model)}))
    monkeypatch.setitem(ENCODERS, "gme", lambda settings: [SimpleNamespace(modality="both")])
    with pytest.raises(RecipeError, match=r"leave embeddings\.image_encoder empty"):
        start_encoders(EmbedSettings(encoder="gme", image_encoder="packaged"))
    with pytest.raises(RecipeError, match=r"needs embeddings\.model"):
        start_encoders(EmbedSettings(encoder="sentence-transformers"))
    with pytest.raises(RecipeError, match="cannot be loaded"):
        start_encoders(EmbedSettings(encoder="sentence-transformers", model=str(tmp_path / "none")))
