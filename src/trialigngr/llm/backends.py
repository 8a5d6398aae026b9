"""Backends by name: how a language model is started, and looked at beforehand."""

from __future__ import annotations

from collections.abc import Callable

from trialigngr.foundation.errors import RecipeError
from trialigngr.llm.generator import Generator
from trialigngr.llm.settings import BackendSettings, GeneratorSettings


def _start_openai(settings: GeneratorSettings, backend: BackendSettings) -> Generator:
    from trialigngr.llm.openai_generator import OpenAIGenerator

    return OpenAIGenerator(settings, backend.openai)


def _start_transformers(settings: GeneratorSettings, backend: BackendSettings) -> Generator:
    from trialigngr.llm.transformers_generator import TransformersGenerator

    return TransformersGenerator(settings, backend.transformers.batch_size)


def _start_smollm2(settings: GeneratorSettings, backend: BackendSettings) -> Generator:
    from trialigngr.llm.transformers_generator import TransformersGenerator

    return TransformersGenerator(settings, backend.transformers.batch_size, "smollm2")


LANGUAGE_MODELS: dict[str, Callable[[GeneratorSettings, BackendSettings], Generator]] = {
    "openai": _start_openai,
    "transformers": _start_transformers,
    "smollm2": _start_smollm2,
}
"""Generator name → how to start it."""


def start_language_model(settings: GeneratorSettings, backend: BackendSettings) -> Generator:
    """Return the backend that the settings name, ready to answer."""
    return LANGUAGE_MODELS[settings.generator](settings, backend)


def check_language_model(settings: GeneratorSettings, backend: BackendSettings, with_images: bool, ask: bool) -> None:
    """Raise a sentence when the language model of the settings cannot answer; nothing is paid, no weights are loaded.

    ``with_images`` says whether it will be shown any, ``ask`` whether a server may be asked for its models.
    """
    match settings.generator:
        case "openai":
            from trialigngr.llm.client import check_settings
            from trialigngr.llm.openai_generator import OpenAIGenerator

            if ask:
                OpenAIGenerator(settings, backend.openai).close()
            else:
                check_settings(settings, backend.openai)
        case "transformers" | "smollm2":
            from trialigngr.llm.transformers_generator import check_local_model

            check_local_model(settings, with_images)


def refuse_offline_engine(stage: str, generator: str) -> None:
    """Raise `RecipeError` for vLLM as a generator: its server is asked through ``openai``, its engine is not run."""
    if generator == "vllm":
        raise RecipeError(
            f'{stage}.generator = "vllm" is not run in this process; start `vllm serve MODEL`, and set '
            f'{stage}.generator = "openai" with its url in calls.{stage}.openai.base_url.'
        )
