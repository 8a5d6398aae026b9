"""Generators that are language models: by name, with the answer's form for servers that can hold a model to it."""

from __future__ import annotations

from collections.abc import Callable

from trialigngr.foundation.errors import RecipeError
from trialigngr.llm.generator import CallSettings, Generator, GeneratorSettings, ResponseForm


def _start_openai(settings: GeneratorSettings, calls: CallSettings, form: ResponseForm) -> Generator:
    from trialigngr.llm.openai_generator import OpenAIGenerator

    return OpenAIGenerator(settings, calls, form)


def _start_transformers(settings: GeneratorSettings, calls: CallSettings, form: ResponseForm) -> Generator:
    from trialigngr.llm.transformers_generator import TransformersGenerator

    return TransformersGenerator(settings, calls)


def _start_smollm2(settings: GeneratorSettings, calls: CallSettings, form: ResponseForm) -> Generator:
    from trialigngr.llm.transformers_generator import TransformersGenerator

    return TransformersGenerator(settings, calls, "smollm2")


def check_language_model(
    settings: GeneratorSettings, calls: CallSettings, form: ResponseForm, with_images: bool, ask: bool
) -> None:
    """Raise a sentence when the language model of the settings cannot answer; nothing is paid, no weights are loaded.

    ``with_images`` says whether it will be shown any, ``ask`` whether a server may be asked for its models.
    """
    match settings.generator:
        case "openai":
            from trialigngr.llm.client import check_settings
            from trialigngr.llm.openai_generator import OpenAIGenerator

            if ask:
                OpenAIGenerator(settings, calls, form).close()
            else:
                check_settings(settings, calls)
        case "transformers" | "smollm2":
            from trialigngr.llm.transformers_generator import check_local_model

            check_local_model(settings, with_images)


LANGUAGE_MODELS: dict[str, Callable[[GeneratorSettings, CallSettings, ResponseForm], Generator]] = {
    "openai": _start_openai,
    "transformers": _start_transformers,
    "smollm2": _start_smollm2,
}
"""Generator name → how to start it."""


def refuse_offline_engine(stage: str, generator: str) -> None:
    """Raise `RecipeError` for vLLM as a generator: its server is asked through ``openai``, its engine is not run."""
    if generator == "vllm":
        raise RecipeError(
            f'{stage}.generator = "vllm" is not run in this process; start `vllm serve MODEL`, and set '
            f'{stage}.generator = "openai" with its url in calls.{stage}.base_url.'
        )
