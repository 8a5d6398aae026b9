"""`make_client`: the official client of OpenAI's protocol, held to one server, to small answers, and to one key."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import Any

from trialigngr.llm.chat_protocol import MalformedResponseError
from trialigngr.llm.generator import GeneratorError
from trialigngr.llm.settings import GeneratorSettings, ServerSettings

MOST_BYTES = 4 * 1024 * 1024
"""An answer with more is not read to its end."""


def check_settings(settings: GeneratorSettings, server: ServerSettings) -> None:
    """Raise `GeneratorError` for settings with which no server could be asked; none is."""
    if not settings.model:
        raise GeneratorError("The generator openai needs the model's name on its server; set the stage's model.")
    if find_spec("openai") is None:
        raise GeneratorError("The generator openai needs its client: pip install 'trialigngr[openai]'.")
    if server.api_key_env and not server.api_key:
        raise GeneratorError(
            f"The environment variable {server.api_key_env} holds no key for {server.base_url}; set it, or set "
            "api_key_env to another name ('' where no key is wanted)."
        )
    if not re.fullmatch(r"[!-~]*", server.api_key):
        raise GeneratorError(f"The key in {server.api_key_env} holds letters that no key can hold; set it anew.")
    if not server.base_url.startswith(("http://", "https://")):
        raise GeneratorError(f"The server's url {server.base_url!r} must begin with http:// or https://.")


def make_client(server: ServerSettings) -> Any:
    """Return a client that asks the server of the settings and no other, and tells it nothing but the key."""
    import httpx2
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    # A connection a call: on one that is used again, an answer that a server or a proxy sent twice is taken for that of
    # the next item, and so on for all that follow it.
    limits = httpx2.Limits(max_connections=server.max_concurrency, max_keepalive_connections=0)
    client = AsyncOpenAI(
        api_key=server.api_key or "none", base_url=server.base_url, timeout=server.timeout, max_retries=0,
        default_headers={"Accept-Encoding": "identity"},
        http_client=DefaultAsyncHttpxClient(
            limits=limits, follow_redirects=False, event_hooks={"response": [_limit_response]}
        ),
    )  # fmt: skip
    # The client reads these from the environment; they are for OpenAI, and not for whoever a recipe names.
    client.organization = client.project = client.admin_api_key = client.webhook_secret = None
    client._custom_headers = {"Accept-Encoding": "identity"}
    return client


async def _limit_response(response: Any) -> None:
    """Let nothing of a response be read beyond `MOST_BYTES`, nor unpacked: not its answer, and not what it says of an
    error, which the client reads by itself."""
    if response.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        raise MalformedResponseError("the answer comes compressed although nobody asked for that")
    response.stream = _limit_stream(response.stream)


def _limit_stream(stream: Any) -> Any:
    """Return a body that raises `MalformedResponseError` when it has more than `MOST_BYTES`."""
    import httpx2

    class Bounded(httpx2.AsyncByteStream):  # type: ignore[misc]  # known only where the client is installed
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for part in stream:
                size += len(part)
                if size > MOST_BYTES:
                    raise MalformedResponseError(f"the answer has more than {MOST_BYTES:,} bytes")
                yield part

        async def aclose(self) -> None:
            await stream.aclose()

    return Bounded()
