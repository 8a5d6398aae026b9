from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.tiny_models import save_chat_model, save_vision_model
from trialigngr.catalog.items import Catalog
from trialigngr.enrich.captions import CaptionSettings, load_captions, write_captions
from trialigngr.enrich.generator import Answer, CallSettings, GeneratorError, Question
from trialigngr.enrich.interests import InterestSettings, load_interests
from trialigngr.enrich.local import Local, look_at
from trialigngr.enrich.mining import write_interests
from trialigngr.enrich.text import ItemText

ONE_BY_ONE = CallSettings(batch=1)


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_chat_model(tmp_path_factory.mktemp("models") / "chat"))


@pytest.fixture(scope="module", params=["qwen2_vl", "qwen2_5_vl"])
def vision(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_vision_model(tmp_path_factory.mktemp("models") / request.param, request.param))


def asked(generator: Local, questions: list[Question]) -> list[Answer]:
    return [answer for group in generator.answers(questions) for answer in group]


def test_pictures_of_any_form_are_answered_as_if_alone(vision: str) -> None:
    settings = CaptionSettings(model=vision, dtype="fp32", device="cpu", max_tokens=6)
    sizes = [(60, 90), (400, 300), (28, 28), (900, 4)]
    pictures = [
        Image.new("RGB", size, colour) for size, colour in zip(sizes, ("red", "blue", "lime", "tan"), strict=True)
    ]
    questions = [Question(n, ItemText(""), picture, "see", "describe") for n, picture in enumerate(pictures)]
    together, alone = Local(settings, CallSettings(batch=4)), Local(settings, ONE_BY_ONE)
    first = asked(together, questions)
    assert first == asked(alone, questions)
    assert first == asked(together, questions)
    assert len({answer.tokens_in for answer in first}) > 1  # larger pictures are more tokens
    assert [answer.number for answer in first] == [0, 1, 2, 3]


def test_texts_of_any_length_are_answered_as_if_alone(chat: str) -> None:
    settings = InterestSettings(model=chat, dtype="fp32", device="cpu", max_tokens=8)
    questions = [Question(n, ItemText(""), None, "mine", "tea " * (3 * n + 1)) for n in range(5)]
    assert asked(Local(settings, CallSettings(batch=3)), questions) == asked(Local(settings, ONE_BY_ONE), questions)


def test_shipped_sampling_settings_are_not_read(chat: str) -> None:
    how = Local(InterestSettings(model=chat, dtype="fp32", device="cpu"), ONE_BY_ONE)._how()
    assert not how.do_sample
    assert how.repetition_penalty in (None, 1.0)


def test_a_warm_model_repeats_itself_for_a_seed(chat: str) -> None:
    settings = InterestSettings(model=chat, dtype="fp32", device="cpu", max_tokens=8, temperature=1.0)
    question = [Question(0, ItemText(""), None, "mine", "tea")]
    said = [
        asked(Local(settings.model_copy(update={"seed": seed}), ONE_BY_ONE), question)[0].text for seed in (1, 1, 2)
    ]
    assert said[0] == said[1] != said[2]


def test_the_stages_run_with_it_from_end_to_end(
    chat: str, vision: str, make_catalog: Callable[..., Catalog], draw: Callable[[str, str], str], tmp_path: Path
) -> None:
    catalog = make_catalog({"title": "mug", "image_path": draw("a.png", "red")}, {"title": "tea"})
    own = {"generator": "transformers", "dtype": "fp32", "device": "cpu", "max_tokens": 4, "script": "any"}
    facts = write_captions(CaptionSettings(model=vision, **own), catalog, tmp_path, None, tmp_path / "ledger.sqlite")
    assert facts["captions"] + sum(facts["failed_answers"].values()) == 1
    captions = load_captions(tmp_path)
    assert captions[1] is None
    facts = write_interests(
        InterestSettings(model=chat, **own), catalog, captions, tmp_path, [], None, tmp_path / "ledger.sqlite"
    )
    # A random model writes no JSON: each item is asked about twice, counted as failed, and goes on without tags.
    assert facts["failed_answers"] == {"the answer is not one JSON object": 2}
    assert facts["calls"] == 4
    assert [one.tags for one in load_interests(tmp_path)] == [(), ()]


def test_mistakes_are_named(chat: str, vision: str, tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="cannot be loaded"):
        Local(CaptionSettings(model=str(tmp_path / "none")), ONE_BY_ONE)
    with pytest.raises(GeneratorError, match="needs a hub name or a folder"):
        Local(CaptionSettings(), ONE_BY_ONE)
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
        for start in (Local, lambda settings, calls: look_at(settings, pictures=False)):
            with pytest.raises(GeneratorError, match=sentence):
                start(
                    CaptionSettings(generator="transformers", model=str(bare), dtype="fp32", device="cpu"), ONE_BY_ONE
                )
    look_at(CaptionSettings(generator="transformers", model=vision), pictures=True)
    with pytest.raises(GeneratorError, match="reads no pictures"):
        look_at(CaptionSettings(generator="transformers", model=chat), pictures=True)
    blind = Local(CaptionSettings(model=chat, dtype="fp32", device="cpu"), ONE_BY_ONE)
    with pytest.raises(GeneratorError, match="reads no pictures"):
        asked(blind, [Question(0, ItemText(""), Image.new("RGB", (30, 30)), "", "")])
