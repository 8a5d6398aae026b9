from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel, BertTokenizer

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
    config = BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
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


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"needs embeddings\.model"):
        start_encoders(EmbedSettings(encoder="sentence-transformers"))
    with pytest.raises(RecipeError, match="cannot be loaded"):
        start_encoders(EmbedSettings(encoder="sentence-transformers", model=str(tmp_path / "none")))
