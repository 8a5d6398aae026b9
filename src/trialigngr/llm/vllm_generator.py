"""`VllmGenerator`: vLLM's batch engine in this process. It batches by itself, so it is given many questions at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from trialigngr.llm.answers import trim_to_sentences
from trialigngr.llm.chat_protocol import make_request_body, make_response_format
from trialigngr.llm.generator import (
    CallSettings,
    GenerationRequest,
    GenerationResponse,
    GeneratorError,
    GeneratorSettings,
    ResponseForm,
    iter_batches,
)

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


class VllmGenerator:
    """An engine that is given ``calls.concurrency`` questions at a time; ``form`` is that of the answers."""

    def __init__(self, settings: GeneratorSettings, calls: CallSettings, form: ResponseForm = "text") -> None:
        start = import_vllm_engine(settings)
        self.name, self.settings = settings.identify_model("vllm", calls)
        self._generator_settings, self.max_in_flight = settings, calls.max_concurrency
        self._response_form, self._uses_schema = form, calls.structured_outputs
        given = {"dtype": DTYPES[settings.dtype], "seed": settings.seed, "limit_mm_per_prompt": {"image": 1}}
        try:
            self._engine = start(model=settings.model, **given | calls.engine_args, trust_remote_code=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise GeneratorError(
                f"vLLM cannot start {settings.model!r}: {_first_line(error)}. Arguments of its engine stand in the "
                "stage's calls, as engine."
            ) from None

    def generate(self, requests: Iterable[GenerationRequest | None]) -> Iterator[list[GenerationResponse]]:
        """Yield one group a batch, more where the engine refuses a question of it."""
        for batch in iter_batches(requests, self.max_in_flight):
            yield from self._generate_batch(batch)

    def _generate_batch(self, batch: list[GenerationRequest]) -> Iterator[list[GenerationResponse]]:
        """Yield the answers to a batch. The engine takes all of it or nothing: a refused one is asked by halves, down
        to the question that it cannot take."""
        messages = [make_request_body(question, self._generator_settings)["messages"] for question in batch]
        try:
            ended = self._engine.chat(
                messages, sampling_params=[*map(self._make_sampling_params, batch)], use_tqdm=False
            )
        except ValueError as error:
            if len(batch) == 1:
                problem = f"vLLM refused the item: {_first_line(error)[:200]}"
                yield [GenerationResponse(batch[0].number, None, problem, is_final=True)]
                return
            middle = len(batch) // 2
            yield from self._generate_batch(batch[:middle])
            yield from self._generate_batch(batch[middle:])
            return
        yield [_read_response(question.number, one) for question, one in zip(batch, ended, strict=True)]

    def _make_sampling_params(self, question: GenerationRequest) -> Any:
        """Return how a question is answered: held to the schema of its form and its choices."""
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        form, own = (
            make_response_format(self._response_form, question.choices) if self._uses_schema else None,
            self._generator_settings,
        )
        return SamplingParams(
            temperature=own.temperature, max_tokens=own.max_tokens, seed=own.seed,
            structured_outputs=StructuredOutputsParams(json=form["json_schema"]["schema"]) if form else None,
        )  # fmt: skip

    def close(self) -> None:
        """Let go of the engine and its weights."""
        del self._engine


def import_vllm_engine(settings: GeneratorSettings) -> Any:
    """Return the class of vLLM's engine; raise `GeneratorError` when it is not installed, or no model is named."""
    if not settings.model:
        raise GeneratorError("The generator vllm needs a hub name or a folder; set the stage's model.")
    try:
        from vllm import LLM
    except ImportError:
        raise GeneratorError(
            "The generator vllm needs its engine, and a machine that it runs on: pip install 'trialigngr[vllm]'."
        ) from None
    return LLM


def _read_response(number: int, ended: Any) -> GenerationResponse:
    (best,) = ended.outputs
    said = trim_to_sentences(best.text.strip()) if best.finish_reason == "length" else best.text.strip()
    problem = None if said else "the answer is empty"
    return GenerationResponse(
        number,
        said or None,
        problem,
        prompt_tokens=len(ended.prompt_token_ids or ()),
        completion_tokens=len(best.token_ids),
    )


def _first_line(error: Exception) -> str:
    """Return the first line of what the engine says."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
