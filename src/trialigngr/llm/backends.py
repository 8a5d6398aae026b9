"""Generators that are language models: by name, with the answer's form for servers that can hold a model to it."""

from __future__ import annotations

from collections.abc import Callable

from trialigngr.llm.generator import CallSettings, Form, Generator, GeneratorSettings


def _served(settings: GeneratorSettings, calls: CallSettings, form: Form) -> Generator:
    from trialigngr.llm.server import Served

    return Served(settings, calls, form)


def _local(settings: GeneratorSettings, calls: CallSettings, form: Form) -> Generator:
    from trialigngr.llm.local import Local

    return Local(settings, calls)


def _packaged(settings: GeneratorSettings, calls: CallSettings, form: Form) -> Generator:
    from trialigngr.llm.local import Local

    return Local(settings, calls, "smollm2")


def _offline(settings: GeneratorSettings, calls: CallSettings, form: Form) -> Generator:
    from trialigngr.llm.offline import Offline

    return Offline(settings, calls, form)


def look(settings: GeneratorSettings, calls: CallSettings, form: Form, pictures: bool, ask: bool) -> None:
    """Raise a sentence when the language model of the settings cannot answer; nothing is paid, no weights are loaded.

    ``pictures`` says whether it will be shown any, ``ask`` whether a server may be asked for its models.
    """
    match settings.generator:
        case "openai":
            from trialigngr.llm.client import refuse_unusable
            from trialigngr.llm.server import Served

            if ask:
                Served(settings, calls, form).close()
            else:
                refuse_unusable(settings, calls)
        case "transformers" | "smollm2":
            from trialigngr.llm.local import look_at

            look_at(settings, pictures)
        case "vllm":
            from trialigngr.llm.offline import engine

            engine(settings)


MODELS: dict[str, Callable[[GeneratorSettings, CallSettings, Form], Generator]] = {
    "openai": _served,
    "transformers": _local,
    "smollm2": _packaged,
    "vllm": _offline,
}
"""Generator name → how to start it."""
