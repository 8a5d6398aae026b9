from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil, Qwen2VLModel

from tests.support.tiny_models import save_vision_model
from trialigngr.catalog.items import Item
from trialigngr.embed.encoders import check_encoders
from trialigngr.embed.gme import GmeEncoder
from trialigngr.embed.settings import EmbedSettings
from trialigngr.embed.text import MAX_TITLE_CHARACTERS, make_enriched_text
from trialigngr.foundation.errors import RecipeError

PICTURE = Image.linear_gradient("L").convert("RGB").resize((112, 84))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_vision_model(tmp_path_factory.mktemp("models") / "gme", "qwen2_vl")


def settings(folder: Path, positions: str = "1d", **changes: object) -> EmbedSettings:
    gme = {"dtype": "fp32", "min_visual_tokens": 4, "max_visual_tokens": 16, "positions": positions}
    return EmbedSettings(encoder="gme", model=str(folder), device="cpu", batch_size=3, gme=gme, **changes)


def by_hand(folder: Path, text: str, picture: Image.Image | None) -> np.ndarray:
    """The published recipe step by step: template, patches scattered to their slots, plain positions, last state."""
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).model.eval()
    tokenizer = GmeEncoder(settings(folder))._processor.tokenizer
    slot = "<|vision_start|><|image_pad|><|vision_end|>" if picture else ""
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    prompt = f"{system}<|im_start|>user\n{slot}{text}<|im_end|>\n<|im_start|>assistant\n<|endoftext|>"
    seen = None
    with torch.inference_mode():
        if picture is not None:
            sizes = {"shortest_edge": 4 * 784, "longest_edge": 16 * 784}
            seen = Qwen2VLImageProcessorPil(size=sizes)(picture, return_tensors="pt")
            count = int(seen["image_grid_thw"].prod()) // 4
            prompt = prompt.replace("<|image_pad|>", "<|image_pad|>" * count)
        ids = torch.tensor([tokenizer.encode(prompt, add_special_tokens=False)])
        embedded = model.get_input_embeddings()(ids)
        if seen is not None:
            patches = model.get_image_features(seen["pixel_values"], seen["image_grid_thw"]).pooler_output
            where = ids == tokenizer.convert_tokens_to_ids("<|image_pad|>")
            embedded[where] = torch.cat(list(patches))
        # Without position ids the text model counts 0, 1, 2 …, as the published code lets it.
        last = model.language_model(inputs_embeds=embedded).last_hidden_state[0, -1]
    return (last / last.norm()).numpy()


def test_it_is_the_published_computation(folder: Path) -> None:
    texts, pictures = ["a plain white mug", "tea", "interests of a hiker; barista"], [PICTURE, None, PICTURE]
    vectors_BD = GmeEncoder(settings(folder)).encode(texts, pictures)
    assert vectors_BD.dtype == np.float32
    for vector_D, text, picture in zip(vectors_BD, texts, pictures, strict=True):
        np.testing.assert_allclose(vector_D, by_hand(folder, text, picture), atol=2e-5)


def test_company_changes_nothing(folder: Path) -> None:
    texts = ["mug", "a plain white mug for tea and coffee " * 5, "tea", "hiker", "coffee"]
    pictures = [PICTURE, Image.new("RGB", (300, 60), "red"), None, None, Image.new("RGB", (2_000, 4))]
    encoder = GmeEncoder(settings(folder))
    together_BD = encoder.encode(texts, pictures)
    alone_BD = np.concatenate([encoder.encode([t], [p]) for t, p in zip(texts, pictures, strict=True)])
    np.testing.assert_allclose(together_BD, alone_BD, atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(together_BD, axis=1), 1, atol=1e-5)


def test_positions_are_a_switch(folder: Path) -> None:
    texts, pictures = ["mug", "mug"], [PICTURE, None]
    plain_BD = GmeEncoder(settings(folder)).encode(texts, pictures)
    three_BD = GmeEncoder(settings(folder, positions="mrope")).encode(texts, pictures)
    np.testing.assert_allclose(plain_BD[1], three_BD[1], atol=2e-5)  # text alone has the same positions either way
    assert np.abs(plain_BD[0] - three_BD[0]).max() > 1e-3


def test_a_marker_in_a_title_is_text(folder: Path) -> None:
    encoder = GmeEncoder(settings(folder))
    ids = encoder._make_prompt("a <|im_end|> <|image_pad|> mug", with_image=False)
    specials = encoder._processor.tokenizer.all_special_ids
    bare = encoder._make_prompt("a mug", with_image=False)
    assert sum(one in specials for one in ids) == sum(one in specials for one in bare)
    assert np.isfinite(encoder.encode(["a <|image_pad|> mug"], [PICTURE])).all()


def test_the_tags_survive_the_cut_at_512_tokens(folder: Path) -> None:
    encoder = GmeEncoder(settings(folder))
    item = Item("1", "mug " * 100, "a plain white mug for tea and coffee " * 400, categories=("kitchen",))
    text = make_enriched_text(item, ["weekend hiker", "home barista"], "red " * 300)
    prompt = encoder._make_prompt(text, with_image=True)
    said = encoder._processor.tokenizer.decode(prompt)
    assert "weekend hiker; home barista" in said
    assert said.endswith("<|im_end|>\n<|im_start|>assistant\n<|endoftext|>")
    assert "red red" not in said
    assert len(prompt) == len(encoder._image_prefix) + 512 + len(encoder._suffix)


def test_the_tags_survive_in_a_script_of_many_tokens_a_letter(folder: Path) -> None:
    """Khmer: three bytes, and here three tokens, a letter; 200 of them are more than 512 tokens."""
    encoder = GmeEncoder(settings(folder))
    letters, tags = "ភាសាខ្មែរ" * 30, ["weekend hiker", "home barista"]
    assert len(encoder._find_token_ends(letters[:MAX_TITLE_CHARACTERS])) > 512
    for longest, line in ((512, "weekend hiker; home barista"), (40, "weekend")):
        short = GmeEncoder(settings(folder, max_text_tokens=longest))
        prompt = short._make_prompt(make_enriched_text(Item("1", letters, "a mug " * 400), tags), with_image=False)
        said = short._processor.tokenizer.decode(prompt)
        assert f"\n{line}" in said
        assert len(prompt) == len(short._text_prefix) + longest + len(short._suffix)
        assert "\ufffd" not in said.split(line)[0]  # the title ends with a whole letter
    for text in (letters[:MAX_TITLE_CHARACTERS], "mug\n" + letters * 9, letters[:84] + "\nhiker\n" + letters):
        ids = encoder._processor.encode_as_plain_text(text, 512)
        assert encoder._make_prompt(text, with_image=False) == [*encoder._text_prefix, *ids, *encoder._suffix]


def test_weights_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    whole = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    Qwen2VLModel(whole.config).language_model.save_pretrained(tmp_path / "half")
    whole.config.save_pretrained(tmp_path / "half")
    with pytest.raises(RecipeError, match=r"weights are missing|cannot be loaded"):
        GmeEncoder(settings(tmp_path / "half"))
    with pytest.raises(RecipeError, match="cannot be loaded"):
        GmeEncoder(settings(tmp_path / "nowhere"))
    torn = Path(shutil.copytree(folder, tmp_path / "torn")) / "model.safetensors"
    torn.write_bytes(torn.read_bytes()[:-100])
    with pytest.raises(RecipeError, match="cannot be loaded"):
        GmeEncoder(settings(torn.parent))
    with pytest.raises(RecipeError, match=r"needs embeddings\.model"):
        GmeEncoder(EmbedSettings(encoder="gme"))
    bare = Path(shutil.copytree(folder, tmp_path / "bare"))
    for path in bare.glob("*token*"):
        path.unlink()
    for start in (GmeEncoder, check_encoders):
        with pytest.raises(RecipeError, match="cannot be loaded: it comes without a tokenizer"):
            start(settings(bare))
