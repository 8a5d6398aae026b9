from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
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

from trialigngr.embed.encoders import start_encoders
from trialigngr.embed.settings import EmbedSettings
from trialigngr.foundation.errors import RecipeError


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
    assert (encoder.sees, encoder.dimension, vectors_BD.shape) == ("text", 16, (3, 16))
    np.testing.assert_allclose(np.linalg.norm(vectors_BD, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors_BD[0], vectors_BD[2], atol=1e-6)


@pytest.fixture(scope="module")
def clip_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = small | {"vocab_size": 10, "eos_token_id": 1, "bos_token_id": 0, "max_position_embeddings": 12}
    vision = small | {"image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder / "clip")
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "mug</w>": 2, "tea</w>": 3}
    tokenizer = CLIPTokenizer(vocab=words, merges=[], model_max_length=12)
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)
    CLIPProcessor(images, tokenizer).save_pretrained(folder / "clip")
    SentenceTransformer(modules=[ClipModule(str(folder / "clip"))]).save(str(folder / "model"))
    return folder / "model"


def test_a_clip_like_model_is_two_encoders(clip_model: Path) -> None:
    settings = EmbedSettings(encoder="sentence-transformers", model=str(clip_model), device="cpu")
    text, picture = start_encoders(settings)
    assert (text.sees, picture.sees) == ("text", "picture")
    assert text.encode(["mug " * 100, "tea"], [None, None]).shape == (2, 8)
    vectors_BD = picture.encode(["mug", "tea", "mug"], [None, Image.new("RGB", (40, 50), "red"), None])
    np.testing.assert_allclose(np.linalg.norm(vectors_BD, axis=1), [0, 1, 0], atol=1e-5)


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"needs embeddings\.model"):
        start_encoders(EmbedSettings(encoder="sentence-transformers"))
    with pytest.raises(RecipeError, match="cannot be loaded"):
        start_encoders(EmbedSettings(encoder="sentence-transformers", model=str(tmp_path / "none")))
