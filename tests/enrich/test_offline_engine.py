"""The adapter to vLLM, against a stand-in that takes the documented arguments and no others."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from trialigngr.catalog.items import Catalog
from trialigngr.enrich.captions import CaptionSettings
from trialigngr.enrich.interests import InterestSettings, load_interests
from trialigngr.enrich.mining import write_interests
from trialigngr.foundation.errors import RecipeError
from trialigngr.llm.chat_protocol import make_response_format
from trialigngr.llm.generator import CallSettings, GenerationRequest, GeneratorError, ItemText, StageCallSettings
from trialigngr.llm.vllm_generator import VllmGenerator
from trialigngr.pipeline.stages import build_stages
from trialigngr.recipes.recipe import Recipe

SAID = '{"interests": [{"tag": "tea lover", "confidence": "high"}, {"tag": "early riser", "confidence": "low"}], "lifestyle": "calm"}'  # fmt: skip  # noqa: E501


@dataclass(frozen=True, kw_only=True)
class StructuredOutputsParams:
    json: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    temperature: float
    max_tokens: int
    seed: int
    structured_outputs: StructuredOutputsParams | None


@dataclass(frozen=True)
class Completion:
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str = "stop"


@dataclass(frozen=True)
class RequestOutput:
    prompt_token_ids: tuple[int, ...] | None
    outputs: list[Completion]


class LLM:
    """Says the same of every conversation, and remembers what it was asked."""

    made: list[LLM]

    def __init__(
        self,
        *,
        model: str,
        dtype: str,
        seed: int,
        limit_mm_per_prompt: dict[str, int],
        max_model_len: int = 0,
        tensor_parallel_size: int = 1,
        trust_remote_code: bool = True,
    ) -> None:
        assert not trust_remote_code
        if model == "missing":
            raise OSError("no such model.\nTraceback and more")
        assert dtype in ("bfloat16", "float16", "float32")
        self.model, self.max_model_len, self.asked = model, max_model_len, []
        self.made.append(self)

    def chat(
        self, messages: list[list[dict[str, Any]]], *, sampling_params: list[SamplingParams], use_tqdm: bool
    ) -> list[RequestOutput]:
        assert len(sampling_params) == len(messages)
        # Nothing is answered before all are taken: at the first that is not, those before it are let go.
        if any("too long" in str(one) for one in messages):
            raise ValueError("The prompt is longer than the model's context.\nSee its settings.")
        self.asked.append((messages, sampling_params))
        return [RequestOutput((1, 2, 3), [Completion(f" {SAID}\n", (1, 2))]) for _ in messages]


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    package, sampling = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    package.LLM, package.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    sampling.StructuredOutputsParams = StructuredOutputsParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", package)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", sampling)
    LLM.made = []
    return LLM


def test_interests_are_held_to_the_schema_and_reach_their_items(
    engine: type[LLM], make_catalog: Callable[..., Catalog], tmp_path: Any
) -> None:
    catalog = make_catalog(*({"title": f"item {n}"} for n in range(5)))
    settings = InterestSettings(generator="vllm", model="qwen", seed=3, max_tokens=99, drop_low_confidence=False)
    calls = CallSettings(max_concurrency=2, engine_args={"max_model_len": 4096})
    facts = write_interests(settings, catalog, [None] * 5, tmp_path, [], calls, tmp_path / "ledger.sqlite")
    (made,) = engine.made
    assert made.max_model_len == 4096
    assert [len(messages) for messages, _ in made.asked] == [2, 2, 1]
    messages, (how, _) = made.asked[0]
    assert [message["role"] for message in messages[0]] == ["system", "user"]
    assert "item 0" in messages[0][1]["content"]
    assert (how.temperature, how.max_tokens, how.seed) == (0.0, 99, 3)
    form = make_response_format("interests")
    assert form is not None
    assert how.structured_outputs == StructuredOutputsParams(json=form["json_schema"]["schema"])
    assert [one.tag_names for one in load_interests(tmp_path)] == [["tea lover", "early riser"]] * 5
    assert (facts["generator"], facts["tokens_in"], facts["tokens_out"]) == ("vllm:qwen", 15, 10)


def test_a_question_that_is_too_long_fails_alone(
    engine: type[LLM], make_catalog: Callable[..., Catalog], tmp_path: Path
) -> None:
    catalog = make_catalog(*({"title": "too long" if n == 3 else f"item {n}"} for n in range(6)))
    settings = InterestSettings(generator="vllm", model="qwen", drop_low_confidence=False)
    for _ in range(2):  # once is enough: it would fail again
        facts = write_interests(settings, catalog, [None] * 6, tmp_path, [], CallSettings(), tmp_path / "ledger.sqlite")
        assert facts["failed_answers"] == {"vLLM refused the item: The prompt is longer than the model's context": 1}
    assert [bool(one.tags) for one in load_interests(tmp_path)] == [True, True, True, False, True, True]
    assert [[len(messages) for messages, _ in made.asked] for made in engine.made] == [[3, 2], []]


def test_an_engine_that_refuses_all_is_not_taken_for_items_that_cannot_be_asked(
    make_catalog: Callable[..., Catalog], tmp_path: Path
) -> None:
    catalog = make_catalog(*({"title": f"too long {n}"} for n in range(9)))
    settings, ledger = InterestSettings(generator="vllm", model="qwen"), tmp_path / "ledger.sqlite"
    with pytest.raises(GeneratorError, match="The last 4 items all failed, at last by: vLLM refused the item"):
        write_interests(settings, catalog, [None] * 9, tmp_path, [], CallSettings(max_consecutive_failures=4), ledger)


def test_arguments_that_may_change_answers_count_among_what_these_depend_on() -> None:
    """For the ledger's keys, and for whether a stage that stands is what is wanted."""

    def of(generator: str, **engine: str | int) -> tuple[dict[str, Any], str]:
        calls = StageCallSettings(interests=CallSettings(engine_args=engine))
        recipe = Recipe(interests=InterestSettings(generator=generator, model="m"), calls=calls)
        line = {stage.name: stage.fingerprint for stage in build_stages(recipe, None, Path("none"), 0)}
        return recipe.interests.identify_model(generator, recipe.calls.interests)[1], line["interests"]

    plain, short = of("vllm"), of("vllm", tensor_parallel_size=2, max_model_len=512)
    assert "engine" not in plain[0]
    assert of("vllm", tensor_parallel_size=2) == plain
    assert short[0] == plain[0] | {"engine": {"max_model_len": 512}}
    assert short[1] != plain[1]
    assert of("openai", max_model_len=512) == of("openai")


@pytest.mark.parametrize(
    "name", ["hf_token", "hftoken", "HF_TOKEN", "apikey", "api_key", "api-key", "accesstoken", "dbpassword", "mysecret"]
)
def test_no_secret_is_taken_for_an_argument_of_the_engine(name: str) -> None:
    with pytest.raises(RecipeError, match=f"engine.{name} in calls is a secret") as caught:
        CallSettings(engine_args={name: "tell-nobody"})
    assert "nobody" not in str(caught.value)


def test_arguments_that_sound_like_a_secret_are_taken() -> None:
    names = ("tokenizer", "tokenizer_mode", "max_num_batched_tokens", "skip_tokenizer_init", "num_gpu_blocks", "monkey")
    assert set(CallSettings(engine_args=dict.fromkeys(names, 1)).engine_args) == set(names)


def test_a_picture_stands_before_the_text_as_a_data_url(engine: type[LLM]) -> None:
    one = VllmGenerator(CaptionSettings(model="vl"), CallSettings())
    list(one.generate([GenerationRequest(0, ItemText(""), Image.new("RGB", (40, 40)), "see", "describe")]))
    ((messages, (how,)),) = engine.made[0].asked
    picture, text = messages[0][1]["content"]
    assert picture["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert text == {"type": "text", "text": "describe"}
    assert how.structured_outputs is None


def test_mistakes_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GeneratorError, match=r"cannot start 'missing': no such model\. Arg"):
        VllmGenerator(InterestSettings(model="missing"), CallSettings())
    with pytest.raises(GeneratorError, match="needs a hub name"):
        VllmGenerator(InterestSettings(), CallSettings())
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(GeneratorError, match=r"pip install 'trialigngr\[vllm\]'"):
        VllmGenerator(InterestSettings(model="m"), CallSettings())
