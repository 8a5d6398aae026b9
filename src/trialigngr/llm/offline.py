"""`Offline`: vLLM's batch engine in this process. It batches by itself, so it is given many questions at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from trialigngr.llm.answers import whole_sentences
from trialigngr.llm.chat_protocol import body_for, schema_for
from trialigngr.llm.generator import Answer, CallSettings, Form, GeneratorError, GeneratorSettings, Question, batches

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


class Offline:
    """An engine that is given ``calls.concurrency`` questions at a time; ``form`` is that of the answers."""

    def __init__(self, settings: GeneratorSettings, calls: CallSettings, form: Form = "text") -> None:
        start = engine(settings)
        self.name, self.settings = settings.identity("vllm", calls)
        self._options, self.size = settings, calls.concurrency
        self._form, self._structured = form, calls.structured
        given = {"dtype": DTYPES[settings.dtype], "seed": settings.seed, "limit_mm_per_prompt": {"image": 1}}
        try:
            self._engine = start(model=settings.model, **given | calls.engine, trust_remote_code=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise GeneratorError(
                f"vLLM cannot start {settings.model!r}: {_said(error)}. Arguments of its engine stand in the stage's "
                "calls, as engine."
            ) from None

    def answers(self, questions: Iterable[Question | None]) -> Iterator[list[Answer]]:
        """Yield one group a batch, more where the engine refuses a question of it."""
        for batch in batches(questions, self.size):
            yield from self._answered(batch)

    def _answered(self, batch: list[Question]) -> Iterator[list[Answer]]:
        """Yield the answers to a batch. The engine takes all of it or nothing: a refused one is asked by halves, down
        to the question that it cannot take."""
        messages = [body_for(question, self._options)["messages"] for question in batch]
        try:
            ended = self._engine.chat(messages, sampling_params=[*map(self._how, batch)], use_tqdm=False)
        except ValueError as error:
            if len(batch) == 1:
                problem = f"vLLM refused the item: {_said(error)[:200]}"
                yield [Answer(batch[0].number, None, problem, final=True)]
                return
            middle = len(batch) // 2
            yield from self._answered(batch[:middle])
            yield from self._answered(batch[middle:])
            return
        yield [_answer(question.number, one) for question, one in zip(batch, ended, strict=True)]

    def _how(self, question: Question) -> Any:
        """Return how a question is answered: held to the schema of its form and its choices."""
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        form, own = schema_for(self._form, question.choices) if self._structured else None, self._options
        return SamplingParams(
            temperature=own.temperature, max_tokens=own.max_tokens, seed=own.seed,
            structured_outputs=StructuredOutputsParams(json=form["json_schema"]["schema"]) if form else None,
        )  # fmt: skip

    def close(self) -> None:
        """Let go of the engine and its weights."""
        del self._engine


def engine(settings: GeneratorSettings) -> Any:
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


def _answer(number: int, ended: Any) -> Answer:
    (best,) = ended.outputs
    said = whole_sentences(best.text.strip()) if best.finish_reason == "length" else best.text.strip()
    problem = None if said else "the answer is empty"
    return Answer(
        number, said or None, problem, tokens_in=len(ended.prompt_token_ids or ()), tokens_out=len(best.token_ids)
    )


def _said(error: Exception) -> str:
    """Return the first line of what the engine says."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
