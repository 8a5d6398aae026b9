from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from benchmarks.servers.tiny_tokenizer import TEMPLATE
from tests.support.tiny_models import save_chat_model, save_vision_model
from trialigngr.catalog.items import Catalog
from trialigngr.enrich.caption_table import load_captions
from trialigngr.enrich.captions import write_captions
from trialigngr.enrich.interests import load_interests
from trialigngr.enrich.mining import write_interests
from trialigngr.enrich.settings import CaptionSettings, InterestSettings
from trialigngr.foundation.chunks import iter_batches
from trialigngr.llm.generator import GenerationRequest, GenerationResponse, GeneratorError
from trialigngr.llm.transformers_generator import TransformersGenerator, check_local_model

ONE_BY_ONE = 1


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_chat_model(tmp_path_factory.mktemp("models") / "chat"))


@pytest.fixture(scope="module", params=["qwen2_vl", "qwen2_5_vl"])
def vision(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_vision_model(tmp_path_factory.mktemp("models") / request.param, request.param))


def asked(generator: TransformersGenerator, questions: list[GenerationRequest]) -> list[GenerationResponse]:
    answers: list[GenerationResponse] = []
    for batch in iter_batches(questions, generator.max_in_flight):
        for question in batch:
            generator.submit(question)
        answers += generator.collect(wait=True)
    return answers


def test_pictures_of_any_form_are_answered_as_if_alone(vision: str) -> None:
    settings = CaptionSettings(model=vision, dtype="fp32", device="cpu", max_tokens=6)
    sizes = [(60, 90), (400, 300), (28, 28), (900, 4)]
    pictures = [
        Image.new("RGB", size, colour) for size, colour in zip(sizes, ("red", "blue", "lime", "tan"), strict=True)
    ]
    questions = [GenerationRequest(n, "see", "describe", picture) for n, picture in enumerate(pictures)]
    together, alone = (
        TransformersGenerator(settings, 4),
        TransformersGenerator(settings, ONE_BY_ONE),
    )
    first = asked(together, questions)
    assert first == asked(alone, questions)
    assert first == asked(together, questions)
    assert len({answer.prompt_tokens for answer in first}) > 1  # larger pictures are more tokens
    assert [answer.number for answer in first] == [0, 1, 2, 3]


def test_texts_of_any_length_are_answered_as_if_alone(chat: str) -> None:
    settings = InterestSettings(model=chat, dtype="fp32", device="cpu", max_tokens=8)
    questions = [GenerationRequest(n, "mine", "tea " * (3 * n + 1)) for n in range(5)]
    assert asked(TransformersGenerator(settings, 3), questions) == asked(
        TransformersGenerator(settings, ONE_BY_ONE), questions
    )


def test_a_model_that_is_spread_by_a_map_answers_as_on_one_device(chat: str, vision: str) -> None:
    """The map of a machine without GPUs is one device, the CPU."""
    questions = [GenerationRequest(n, "mine", "tea " * (3 * n + 1)) for n in range(3)]
    seen = [GenerationRequest(0, "see", "describe", Image.new("RGB", (60, 90), "red"))]
    for of, asked_of in ((chat, questions), (vision, seen)):
        settings = CaptionSettings(model=of, dtype="fp32", device="map", max_tokens=6)
        alone = settings.model_copy(update={"device": "cpu"})
        first, second = (asked(TransformersGenerator(one, 8), asked_of) for one in (settings, alone))
        assert first == second


def test_shipped_sampling_settings_are_not_read(chat: str) -> None:
    how = TransformersGenerator(
        InterestSettings(model=chat, dtype="fp32", device="cpu"), ONE_BY_ONE
    )._make_generation_config()
    assert not how.do_sample
    assert how.repetition_penalty in (None, 1.0)


def test_a_warm_model_repeats_itself_for_a_seed(chat: str) -> None:
    settings = InterestSettings(model=chat, dtype="fp32", device="cpu", max_tokens=8, temperature=1.0)
    question = [GenerationRequest(0, "mine", "tea")]
    said = [
        asked(TransformersGenerator(settings.model_copy(update={"seed": seed}), ONE_BY_ONE), question)[0].text
        for seed in (1, 1, 2)
    ]
    assert said[0] == said[1] != said[2]


def with_template(of: str, folder: Path, template: str) -> InterestSettings:
    """Copy a model, give it another chat template, and return settings that name it."""
    shutil.copytree(of, folder)
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    return InterestSettings(generator="transformers", model=str(folder), dtype="fp32", device="cpu", max_tokens=4)


DEAF = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"


@pytest.mark.parametrize("before", [DEAF, "{% for m in messages if m.role != 'system' %}"])
def test_a_template_without_a_system_role_tells_it_before_the_users_text(
    before: str, chat: str, vision: str, tmp_path: Path
) -> None:
    rest = TEMPLATE.removeprefix("{% for m in messages %}")
    for of, picture, slot in ((chat, None, ""), (vision, Image.new("RGB", (30, 30)), "<|vision_start|><|image_pad|>")):
        settings = with_template(of, tmp_path / Path(of).name, before + rest)
        check_local_model(settings, with_images=picture is not None)
        local, question = (
            TransformersGenerator(settings, ONE_BY_ONE),
            GenerationRequest(0, "mine", "tea", picture),
        )
        said = local._format_prompt(question)
        assert said.startswith(f"<|im_start|>user\n{slot}")
        assert said.endswith("mine\n\ntea<|im_end|>\n<|im_start|>assistant")
        assert asked(local, [question])[0].prompt_tokens > 10


def test_a_template_that_cannot_be_filled_is_said(chat: str, tmp_path: Path) -> None:
    for name, template, sentence in (
        ("angry", "{{ raise_exception('no\\nthanks') }}", "cannot be filled: no"),
        ("broken", "{% for m in messages %}", "cannot be filled: Unexpected end of template"),
        ("mixed up", "{{ messages[0].content + 1 }}", "cannot be filled: "),
        ("empty", "hello", "cannot be filled: it shows no system text"),
    ):
        settings = with_template(chat, tmp_path / name, template)
        for start in (
            lambda of: TransformersGenerator(of, ONE_BY_ONE),
            lambda of: check_local_model(of, with_images=False),
        ):
            with pytest.raises(GeneratorError, match=f"chat template of .* {sentence}"):
                start(settings)


def test_a_model_that_thinks_is_told_not_to(chat: str, tmp_path: Path) -> None:
    silent = "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    local = TransformersGenerator(with_template(chat, tmp_path / "thinker", TEMPLATE + silent), ONE_BY_ONE)
    assert local._format_prompt(GenerationRequest(0, "mine", "tea")).endswith("assistant\n<think>\n\n</think>\n\n")


def test_a_text_that_ran_out_of_tokens_ends_with_a_whole_sentence(chat: str) -> None:
    local = TransformersGenerator(InterestSettings(model=chat, dtype="fp32", device="cpu"), ONE_BY_ONE)
    ids = local._tokenizer.encode("A mug. It is")
    end = local._tokenizer.eos_token_id
    cut, whole = (local._decode_response(0, each, 3, {end}) for each in (ids, [*ids, end, end]))
    assert (cut.text, whole.text) == ("A mug.", "A mug. It is")
    assert cut.completion_tokens == whole.completion_tokens == len(ids)


def test_a_model_that_is_not_whole_is_refused(chat: str, vision: str, tmp_path: Path) -> None:
    for of, kind in ((chat, InterestSettings), (vision, CaptionSettings)):
        folder = Path(shutil.copytree(of, tmp_path / Path(of).name))
        settings = kind(generator="transformers", model=str(folder), dtype="fp32", device="cpu")
        file = folder / "model.safetensors"
        whole = file.read_bytes()
        weights = load_file(file)
        few = {name: tensor for name, tensor in weights.items() if "layers" not in name}
        save_file(few, file, {"format": "pt"})
        with pytest.raises(GeneratorError, match=r"is not whole: \d+ weights are missing; first: \["):
            TransformersGenerator(settings, ONE_BY_ONE)
        norm = next(name for name in weights if name.endswith("norm.weight"))
        save_file(weights | {norm: weights[norm][:3].clone()}, file, {"format": "pt"})
        with pytest.raises(GeneratorError, match="cannot be loaded"):
            TransformersGenerator(settings, ONE_BY_ONE)
        file.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(GeneratorError, match=r"cannot be loaded: .*not fully covered"):
            TransformersGenerator(settings, ONE_BY_ONE)


def test_a_head_that_is_tied_is_not_missed(chat: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(chat, tmp_path / "tied"))
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    settings = InterestSettings(model=str(folder), dtype="fp32", device="cpu")
    with pytest.raises(GeneratorError, match="1 weights are missing"):
        TransformersGenerator(settings, ONE_BY_ONE)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}), "utf-8")
    TransformersGenerator(settings, ONE_BY_ONE)


def test_the_stages_run_with_it_from_end_to_end(
    chat: str, vision: str, make_catalog: Callable[..., Catalog], draw: Callable[[str, str], str], tmp_path: Path
) -> None:
    catalog = make_catalog({"title": "mug", "image_path": draw("a.png", "red")}, {"title": "tea"})
    own = {"generator": "transformers", "dtype": "fp32", "device": "cpu", "max_tokens": 4, "script": "any"}
    facts = write_captions(CaptionSettings(model=vision, **own), catalog, tmp_path, None, tmp_path / "responses.sqlite")
    assert facts["captions"] + sum(facts["failed_items"].values()) == 1
    captions = load_captions(tmp_path)
    assert captions[1] is None
    facts = write_interests(
        InterestSettings(model=chat, **own), catalog, captions, tmp_path, [], None, tmp_path / "responses.sqlite"
    )
    # A random model writes no JSON: each item is asked about twice, counted as failed, and goes on without tags.
    assert facts["failed_items"] == {"the answer is not one JSON object": 2}
    assert facts["calls"] == 4
    assert [one.tags for one in load_interests(tmp_path)] == [(), ()]


def test_mistakes_are_named(chat: str, vision: str, tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="cannot be loaded"):
        TransformersGenerator(CaptionSettings(model=str(tmp_path / "none")), ONE_BY_ONE)
    with pytest.raises(GeneratorError, match="needs a hub name or a folder"):
        TransformersGenerator(CaptionSettings(), ONE_BY_ONE)
    without = (
        ("deaf", chat, "token*", "comes without a tokenizer"),
        ("deaf too", vision, "token*", "comes without a tokenizer"),
        ("unseeing", vision, "preprocessor*", "cannot be loaded: Can't load image processor"),
        ("mute", chat, "chat_template*", "has no chat template"),
    )
    for name, of, missing, sentence in without:
        bare = Path(shutil.copytree(of, tmp_path / name))
        for path in bare.glob(missing):
            path.unlink()
        for start in (TransformersGenerator, lambda settings, calls: check_local_model(settings, with_images=False)):
            with pytest.raises(GeneratorError, match=sentence):
                start(
                    CaptionSettings(generator="transformers", model=str(bare), dtype="fp32", device="cpu"), ONE_BY_ONE
                )
    check_local_model(CaptionSettings(generator="transformers", model=vision), with_images=True)
    with pytest.raises(GeneratorError, match="reads no pictures"):
        check_local_model(CaptionSettings(generator="transformers", model=chat), with_images=True)
    blind = TransformersGenerator(CaptionSettings(model=chat, dtype="fp32", device="cpu"), ONE_BY_ONE)
    with pytest.raises(GeneratorError, match="reads no pictures"):
        asked(blind, [GenerationRequest(0, "", "", Image.new("RGB", (30, 30)))])
