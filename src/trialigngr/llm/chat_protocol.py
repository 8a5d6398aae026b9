"""OpenAI's chat protocol: a question as the body of a request, a response's bytes as an answer."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

from PIL import Image

from trialigngr.llm.answers import MAX_CHARACTERS, trim_to_sentences
from trialigngr.llm.generator import GenerationRequest, GenerationResponse
from trialigngr.llm.settings import GeneratorSettings

JPEG_QUALITY = 90
MOST_TOKENS = 10**8
"""A server that says it read or wrote more for one answer is not believed."""


class MalformedResponseError(ValueError):
    """Bytes that are no answer of the protocol; the message says why. What they cost all the same stands beside it."""

    def __init__(self, problem: str, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        super().__init__(problem)
        self.prompt_tokens, self.completion_tokens = prompt_tokens, completion_tokens


def make_response_format(response_schema: dict[str, Any]) -> dict[str, Any]:
    """Return the ``response_format`` that holds a model to a schema and its name."""
    return {"type": "json_schema", "json_schema": {"name": response_schema["name"], "strict": True, **response_schema}}


def make_request_body(request: GenerationRequest, settings: GeneratorSettings) -> dict[str, Any]:
    """Return the request for a question; its picture, if there is one, stands before the text as a data URL."""
    content: list[dict[str, Any]] | str = request.user_prompt
    if request.image is not None:
        url = encode_data_url(request.image)
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": request.user_prompt}]
    messages = [{"role": "system", "content": request.system_prompt}, {"role": "user", "content": content}]
    options = settings.model_dump(include={"model", "temperature", "max_tokens", "seed"})
    return {"messages": messages, **options}


def encode_data_url(image: Image.Image) -> str:
    """Return the picture as a JPEG in a ``data:`` URL."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def parse_response_body(number: int, raw: bytes) -> GenerationResponse:
    """Return the answer in a response's body; raise `MalformedResponseError` when there is none.

    A refusal, and an answer that a filter stopped, is a final problem. One that ran out of tokens ends with its last
    whole sentence.
    """
    body = _parse_object(raw)
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    read, written = _read_usage(body.get("usage"))
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise MalformedResponseError("the answer holds no choice with a message", read, written)
    if message.get("refusal") or choice.get("finish_reason") == "content_filter":
        return GenerationResponse(number, None, "the model refused the item", True, read, written)
    text = message.get("content")
    if not isinstance(text, str) or not text.strip():
        raise MalformedResponseError("the answer is empty", read, written)
    # What is longer is refused for its length, whatever stands behind.
    text = well_formed(text.strip()[: MAX_CHARACTERS + 1])
    text = trim_to_sentences(text) if choice.get("finish_reason") == "length" else text
    return GenerationResponse(number, text, prompt_tokens=read, completion_tokens=written)


def parse_model_list(raw: bytes) -> list[str]:
    """Return the names in a list of models; raise `MalformedResponseError` when it is none."""
    rows = _parse_object(raw).get("data")
    if not isinstance(rows, list):
        raise MalformedResponseError("its list of models has no data")
    return [well_formed(row["id"]) for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]


def well_formed(text: str) -> str:
    """Return the text with U+FFFD for each half of a letter, which JSON can name and nothing can write."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _parse_object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise MalformedResponseError("the answer is no JSON") from None
    if not isinstance(body, dict):
        raise MalformedResponseError("the answer is no JSON object")
    return body


def _read_usage(usage: object) -> tuple[int, int]:
    given = usage if isinstance(usage, dict) else {}
    read, written = (given.get(name) for name in ("prompt_tokens", "completion_tokens"))
    return _parse_count(read), _parse_count(written)


def _parse_count(given: object) -> int:
    """Return a number of tokens; 0 for what can be none."""
    whole = isinstance(given, int) or (isinstance(given, float) and given.is_integer())
    return int(given) if whole and 0 <= given <= MOST_TOKENS else 0  # type: ignore[call-overload,operator]
