"""`TransformersGenerator`: Qwen2-VL, Qwen2.5-VL or any causal chat model of Hugging Face, or the packaged one,
answering in batches."""

from __future__ import annotations

from typing import Any, cast

import torch
from jinja2 import TemplateError
from PIL import Image
from safetensors import SafetensorError

from trialigngr.foundation.device import pick_device
from trialigngr.foundation.hub import load_tokenizer, read_config, reason_of
from trialigngr.llm.answers import trim_to_sentences
from trialigngr.llm.generator import GenerationRequest, GenerationResponse, GeneratorError
from trialigngr.llm.settings import GeneratorSettings
from trialigngr.pretrained import smollm2
from trialigngr.pretrained.qwen_vl import QwenProcessor

VISION_MODEL_TYPES = {"qwen2_vl", "qwen2_5_vl"}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
MIN_VISUAL_TOKENS = 4
MAX_VISUAL_TOKENS = 16384
"""As in the models' own settings; those who ask make images small before."""
_PROBE = "system-text"


class TransformersGenerator:
    """A model and its tokenizer. At temperature 0 the same batches give the same answers on the same machine."""

    def __init__(self, settings: GeneratorSettings, batch_size: int, generator: str = "transformers") -> None:
        self.name, self.settings = settings.identify_model(generator)
        self._generator_settings, self.max_in_flight = settings, batch_size
        self._requests: list[GenerationRequest] = []
        self._processor: Any = None
        if generator == "smollm2":
            self._model, self._tokenizer = smollm2.load_smollm2(DTYPES[settings.dtype])
            self._model = self._model.to(pick_device(settings.device)).eval()
            self._tokenizer.padding_side = "left"
            self._has_system_role = True
        else:
            self._processor, self._tokenizer, self._has_system_role = _load_processor(settings)
            self._model = _load_model(settings, self._processor is not None)
        self.accepts_images = self._processor is not None
        self._model.generation_config = self._make_generation_config()

    def _make_generation_config(self) -> Any:
        """Return how the model writes: what ships beside its weights is left out, but for the tokens that end it."""
        from transformers import GenerationConfig

        shipped = self._model.generation_config.eos_token_id
        ends = {self._tokenizer.eos_token_id, *(shipped if isinstance(shipped, list) else [shipped])} - {None}
        warm = (
            {"temperature": self._generator_settings.temperature, "top_k": 0, "top_p": 1.0}
            if self._generator_settings.temperature
            else {}
        )
        return GenerationConfig(
            max_new_tokens=self._generator_settings.max_tokens, do_sample=bool(warm), eos_token_id=sorted(ends),
            pad_token_id=self._tokenizer.pad_token_id, **warm,
        )  # fmt: skip

    def submit(self, request: GenerationRequest) -> None:
        """Keep a request for the next batch."""
        self._requests.append(request)

    def collect(self, wait: bool) -> list[GenerationResponse]:
        """Return the responses to all requests together, if ``wait`` says that there will be no more; raise
        `GeneratorError` when a picture is shown to a model that reads text alone."""
        if not wait:
            return []
        requests, self._requests = self._requests, []
        return self._generate_batch(requests)

    def _generate_batch(self, batch: list[GenerationRequest]) -> list[GenerationResponse]:
        images = [request.image for request in batch if request.image is not None]
        if images and not self.accepts_images:
            raise _no_images_error(self.name)
        inputs = self._tokenize_prompts([self._format_prompt(request) for request in batch], images)
        read_B = inputs["attention_mask"].sum(1).tolist()
        start = inputs["input_ids"].shape[1]
        with torch.inference_mode(), torch.random.fork_rng(enabled=bool(self._generator_settings.temperature)):
            torch.manual_seed(self._generator_settings.seed)
            written_BT = self._model.generate(**inputs)[:, start:]
        ends = set(self._model.generation_config.eos_token_id)
        return [
            self._decode_response(request.number, row.tolist(), read, ends)
            for request, row, read in zip(batch, written_BT.cpu(), read_B, strict=True)
        ]

    def _format_prompt(self, request: GenerationRequest) -> str:
        has_image = request.image is not None
        return _apply_chat_template(
            self._tokenizer, request.system_prompt, request.user_prompt, has_image, self._has_system_role
        )

    def _tokenize_prompts(self, prompts: list[str], images: list[Image.Image]) -> dict[str, torch.Tensor]:
        if self.accepts_images:
            inputs = self._processor.collate_prompts(
                [self._processor.encode_with_special_tokens(prompt) for prompt in prompts], images
            )
        else:
            inputs = self._tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        return {name: tensor.to(self._model.device) for name, tensor in inputs.items() if name != "token_type_ids"}

    def _decode_response(self, number: int, ids: list[int], read: int, ends: set[int]) -> GenerationResponse:
        length = next((place for place, token in enumerate(ids) if token in ends), len(ids))
        text = self._tokenizer.decode(ids[:length], skip_special_tokens=True).strip()
        if not text:
            return GenerationResponse(number, None, "the answer is empty", prompt_tokens=read, completion_tokens=length)
        if length == len(ids):
            text = trim_to_sentences(text)
        return GenerationResponse(number, text, prompt_tokens=read, completion_tokens=length)

    def close(self) -> None:
        """Let go of the weights."""
        del self._model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def check_local_model(settings: GeneratorSettings, with_images: bool) -> None:
    """Raise a sentence when a model is not there, or cannot be asked, with ``with_images`` or without; no weights are
    loaded."""
    if settings.generator == "smollm2":
        smollm2.find_weights_file()
        sees = False
    else:
        sees = _load_processor(settings)[0] is not None
    if with_images and not sees:
        raise _no_images_error(settings.identify_model(settings.generator)[0])


def _no_images_error(name: str) -> GeneratorError:
    return GeneratorError(f"{name} reads no pictures; captions need Qwen2-VL or Qwen2.5-VL.")


def _apply_chat_template(tokenizer: Any, system: str, text: str, with_image: bool, has_system_role: bool) -> str:
    """Return a question, perhaps about a picture, as the model's chat; ``has_system_role`` gives the system text its
    own turn."""
    content = text if has_system_role else f"{system}\n\n{text}"
    user: Any = [{"type": "image"}, {"type": "text", "text": content}] if with_image else content
    turns = [{"role": "system", "content": system}] if has_system_role else []
    # Models that think before they answer would do so in the answer; templates that do not know the word pass over it.
    rendered = tokenizer.apply_chat_template(
        [*turns, {"role": "user", "content": user}], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    return cast(str, rendered)


def _supports_system_role(name: str, tokenizer: Any, with_image: bool) -> bool:
    """Return whether a chat template shows a system message; raise `GeneratorError` when it cannot be filled at all."""
    problem = "it shows no system text, nor the user's"
    for apart in (True, False):
        try:
            if _PROBE in _apply_chat_template(tokenizer, _PROBE, "text", with_image, apart):
                return apart
        except (TemplateError, TypeError, ValueError) as error:
            problem = str(error).partition("\n")[0]
    raise GeneratorError(f"The chat template of {name!r} cannot be filled: {problem}")


def _load_processor(settings: GeneratorSettings) -> tuple[Any, Any, bool]:
    """Return what prepares a model's images (None for one that reads text alone), its tokenizer, and whether its chat
    takes a system message.

    Raises `GeneratorError` when no model is named, it is not there, or not one to chat with.
    """
    name, inputs = settings.model, None
    if not name:
        raise GeneratorError("The generator transformers needs a hub name or a folder; set the stage's model.")
    try:
        if read_config(name).model_type in VISION_MODEL_TYPES:
            inputs = QwenProcessor(name, (MIN_VISUAL_TOKENS, MAX_VISUAL_TOKENS), "left")
        tokenizer = inputs.tokenizer if inputs else load_tokenizer(name, padding_side="left")
    except (OSError, ValueError) as error:
        raise _model_load_error(name, error) from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        raise GeneratorError(f"The tokenizer of {name!r} has no chat template; take a model that is tuned to chat.")
    return inputs, tokenizer, _supports_system_role(name, tokenizer, inputs is not None)


def _load_model(settings: GeneratorSettings, accepts_images: bool) -> Any:
    """Return the model, ready to write; raise `GeneratorError` when it cannot be loaded, or not whole."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    kind = AutoModelForImageTextToText if accepts_images else AutoModelForCausalLM
    placement = {"device_map": "auto"} if settings.device == "map" else {}
    try:
        model, found = kind.from_pretrained(
            settings.model,
            dtype=DTYPES[settings.dtype],
            output_loading_info=True,
            trust_remote_code=False,
            **placement,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _model_load_error(settings.model, error) from None
    # A head that is tied to the embeddings is not among them.
    if missing := sorted(found["missing_keys"]):
        raise GeneratorError(
            f"The model {settings.model!r} is not whole: {len(missing)} weights are missing; first: {missing[:2]}."
        )
    return (model if placement else model.to(pick_device(settings.device))).eval()


def _model_load_error(name: str, error: Exception) -> GeneratorError:
    return GeneratorError(f"The model {name!r} cannot be loaded: {reason_of(error)}.")
