"""`Local`: Qwen2-VL, Qwen2.5-VL or any causal chat model of Hugging Face, or the packaged one, answering in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from jinja2 import TemplateError
from PIL import Image
from safetensors import SafetensorError

from trialigngr.foundation.device import pick_device
from trialigngr.foundation.hub import read_config, read_tokenizer, reason_of
from trialigngr.llm.answers import whole_sentences
from trialigngr.llm.generator import Answer, CallSettings, GeneratorError, GeneratorSettings, Question, batches
from trialigngr.pretrained import smollm2
from trialigngr.pretrained.qwen_vl import PATCH, QwenInputs

VISION = {"qwen2_vl", "qwen2_5_vl"}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
LEAST_TOKENS = 4
_PROBE = "system-text"


class Local:
    """A model and its tokenizer. At temperature 0 the same batches give the same answers on the same machine."""

    def __init__(self, settings: GeneratorSettings, calls: CallSettings, generator: str = "transformers") -> None:
        self.name, self.settings = settings.identity(generator, calls)
        self._options, self.size = settings, calls.batch
        self._inputs: Any = None
        if generator == "smollm2":
            self._model, self._tokenizer = smollm2.load_smollm2(DTYPES[settings.dtype])
            self._model = self._model.to(pick_device(settings.device)).eval()
            self._tokenizer.padding_side = "left"
            self._apart = True
        else:
            self._inputs, self._tokenizer, self._apart = _reader(settings)
            self._model = _loaded(settings, self._inputs is not None)
        self.sees = self._inputs is not None
        self._model.generation_config = self._how()

    def _how(self) -> Any:
        """Return how the model writes: what ships beside its weights is left out, but for the tokens that end it."""
        from transformers import GenerationConfig

        shipped = self._model.generation_config.eos_token_id
        ends = {self._tokenizer.eos_token_id, *(shipped if isinstance(shipped, list) else [shipped])} - {None}
        warm = {"temperature": self._options.temperature, "top_k": 0, "top_p": 1.0} if self._options.temperature else {}
        return GenerationConfig(
            max_new_tokens=self._options.max_tokens, do_sample=bool(warm), eos_token_id=sorted(ends),
            pad_token_id=self._tokenizer.pad_token_id, **warm,
        )  # fmt: skip

    def answers(self, questions: Iterable[Question | None]) -> Iterator[list[Answer]]:
        """Yield one group a batch; raise `GeneratorError` when a picture is shown to a model that reads text alone."""
        for batch in batches(questions, self.size):
            yield self._answered(batch)

    def _answered(self, batch: list[Question]) -> list[Answer]:
        pictures = [one.picture for one in batch if one.picture is not None]
        if pictures and not self.sees:
            raise _blind(self.name)
        inputs = self._read([self._prompt(one) for one in batch], pictures)
        read_B = inputs["attention_mask"].sum(1).tolist()
        start = inputs["input_ids"].shape[1]
        with torch.inference_mode(), torch.random.fork_rng(enabled=bool(self._options.temperature)):
            torch.manual_seed(self._options.seed)
            written_BT = self._model.generate(**inputs)[:, start:]
        ends = set(self._model.generation_config.eos_token_id)
        return [
            self._answer(question.number, row.tolist(), read, ends)
            for question, row, read in zip(batch, written_BT.cpu(), read_B, strict=True)
        ]

    def _prompt(self, question: Question) -> str:
        return _chat(self._tokenizer, question.system, question.text, question.picture is not None, self._apart)

    def _read(self, prompts: list[str], pictures: list[Image.Image]) -> dict[str, torch.Tensor]:
        if self.sees:
            small = [_at_most(one, self._options.long_side) for one in pictures]
            inputs = self._inputs.batch([self._inputs.trusted(prompt) for prompt in prompts], small)
        else:
            inputs = self._tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        return {name: tensor.to(self._model.device) for name, tensor in inputs.items() if name != "token_type_ids"}

    def _answer(self, number: int, ids: list[int], read: int, ends: set[int]) -> Answer:
        length = next((place for place, token in enumerate(ids) if token in ends), len(ids))
        text = self._tokenizer.decode(ids[:length], skip_special_tokens=True).strip()
        if not text:
            return Answer(number, None, "the answer is empty", tokens_in=read, tokens_out=length)
        if length == len(ids):
            text = whole_sentences(text)
        return Answer(number, text, tokens_in=read, tokens_out=length)

    def close(self) -> None:
        """Let go of the weights."""
        del self._model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def look_at(settings: GeneratorSettings, pictures: bool) -> None:
    """Raise a sentence when a model is not there, or cannot be asked, with ``pictures`` or without; no weights are
    loaded."""
    if settings.generator == "smollm2":
        smollm2.weights_file()
        sees = False
    else:
        sees = _reader(settings)[0] is not None
    if pictures and not sees:
        raise _blind(settings.identity(settings.generator, CallSettings())[0])


def _blind(name: str) -> GeneratorError:
    return GeneratorError(f"{name} reads no pictures; captions need Qwen2-VL or Qwen2.5-VL.")


def _chat(tokenizer: Any, system: str, text: str, seen: bool, apart: bool) -> str:
    """Return a question, perhaps about a picture, as the model's chat; ``apart`` gives the system text its own turn."""
    said = text if apart else f"{system}\n\n{text}"
    user: Any = [{"type": "image"}, {"type": "text", "text": said}] if seen else said
    turns = [{"role": "system", "content": system}] if apart else []
    # Models that think before they answer would do so in the answer; templates that do not know the word pass over it.
    rendered = tokenizer.apply_chat_template(
        [*turns, {"role": "user", "content": user}], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    return cast(str, rendered)


def _takes_system(name: str, tokenizer: Any, seen: bool) -> bool:
    """Say whether a chat template shows a system message; raise `GeneratorError` when it cannot be filled at all."""
    problem = "it shows no system text, nor the user's"
    for apart in (True, False):
        try:
            if _PROBE in _chat(tokenizer, _PROBE, "text", seen, apart):
                return apart
        except (TemplateError, TypeError, ValueError) as error:
            problem = str(error).partition("\n")[0]
    raise GeneratorError(f"The chat template of {name!r} cannot be filled: {problem}")


def _reader(settings: GeneratorSettings) -> tuple[Any, Any, bool]:
    """Return what prepares a model's pictures (None for one that reads text alone), its tokenizer, and whether its chat
    takes a system message.

    Raises `GeneratorError` when no model is named, it is not there, or not one to chat with.
    """
    name, inputs = settings.model, None
    if not name:
        raise GeneratorError("The generator transformers needs a hub name or a folder; set the stage's model.")
    try:
        if read_config(name).model_type in VISION:
            most = (settings.long_side // PATCH + 1) ** 2
            inputs = QwenInputs(name, (LEAST_TOKENS, most), "left")
        tokenizer = inputs.tokenizer if inputs else read_tokenizer(name, padding_side="left")
    except (OSError, ValueError) as error:
        raise _not_loaded(name, error) from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        raise GeneratorError(f"The tokenizer of {name!r} has no chat template; take a model that is tuned to chat.")
    return inputs, tokenizer, _takes_system(name, tokenizer, inputs is not None)


def _loaded(settings: GeneratorSettings, sees: bool) -> Any:
    """Return the model, ready to write; raise `GeneratorError` when it cannot be loaded, or not whole."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    kind = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    spread = {"device_map": "auto"} if settings.device == "map" else {}
    try:
        model, found = kind.from_pretrained(
            settings.model,
            dtype=DTYPES[settings.dtype],
            output_loading_info=True,
            trust_remote_code=False,
            **spread,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _not_loaded(settings.model, error) from None
    # A head that is tied to the embeddings is not among them.
    if missing := sorted(found["missing_keys"]):
        raise GeneratorError(
            f"The model {settings.model!r} is not whole: {len(missing)} weights are missing; first: {missing[:2]}."
        )
    return (model if spread else model.to(pick_device(settings.device))).eval()


def _not_loaded(name: str, error: Exception) -> GeneratorError:
    return GeneratorError(f"The model {name!r} cannot be loaded: {reason_of(error)}.")


def _at_most(picture: Image.Image, side: int) -> Image.Image:
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small
