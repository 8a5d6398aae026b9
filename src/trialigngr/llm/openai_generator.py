"""`OpenAIGenerator`: any server that speaks OpenAI's chat protocol (vLLM, SGLang, llama.cpp, hosted), by the official
client."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any

from trialigngr.foundation.errors import did_you_mean
from trialigngr.llm.answers import MAX_CHARACTERS
from trialigngr.llm.api_keys import without_key
from trialigngr.llm.chat_protocol import (
    MalformedResponseError,
    make_request_body,
    make_response_format,
    parse_model_list,
    parse_response_body,
    well_formed,
)
from trialigngr.llm.client import check_settings, make_client
from trialigngr.llm.generator import GenerationRequest, GenerationResponse, GeneratorError
from trialigngr.llm.rate_limiter import MAX_SERVER_WAIT, RateLimiter, parse_retry_after
from trialigngr.llm.settings import GeneratorSettings, ServerSettings

MAX_BACKOFF = 60.0
"""Seconds between two tries, unless the server asks for more."""
MAX_JITTER_AFTER_PAUSE = 1.0
"""Most seconds that a call waits by itself beyond a pause that the server named."""
NAME, NAMES = 100, 1000
"""Letters of a model's name that are repeated, and names that are looked at for one that is near."""
FATAL_STATUSES = {401, 403, 404}
FINAL_STATUSES = {400, 413, 422}
SCHEMA_STATUSES = {400, 422}


class _RetryableError(Exception):
    """A fault that another try may pass; ``retry_after`` is what the server asked for, if it did."""

    def __init__(self, problem: str, retry_after: float | None = None) -> None:
        super().__init__(problem)
        self.retry_after = retry_after


@dataclass
class _RequestState:
    """How the asking of one question goes: calls, what those without an answer took, tries, seconds it was to wait."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    attempts: int = 0
    failures: int = 0
    seconds_waited: float = 0.0

    def count_failure(self, retry_after: float | None) -> None:
        """Count a try; a refusal that says when to come back is none, as long as that is not too long in all."""
        self.failures += 1
        if retry_after and self.seconds_waited < MAX_SERVER_WAIT:
            self.seconds_waited += max(retry_after, MAX_JITTER_AFTER_PAUSE)
        else:
            self.attempts += 1

    def add_usage(self, response: GenerationResponse) -> GenerationResponse:
        """Return the answer with all that it took."""
        read, written = self.prompt_tokens + response.prompt_tokens, self.completion_tokens + response.completion_tokens
        return replace(response, calls=self.calls, prompt_tokens=read, completion_tokens=written)


class OpenAIGenerator:
    """Many calls at once, on an event loop of its own thread."""

    def __init__(self, settings: GeneratorSettings, server: ServerSettings) -> None:
        check_settings(settings, server)
        self.name, self.settings = settings.identify_model("openai")
        self._generator_settings, self._server, self.max_in_flight = settings, server, server.max_concurrency
        self._uses_schema = True
        self._results: SimpleQueue[GenerationResponse | Exception] = SimpleQueue()
        self._rate_limiter = RateLimiter()
        self._client = make_client(server)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            if server.check_server:
                self._run_on_loop(self._check_server())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Break off the calls that are out, close the connections and end the thread."""
        self._run_on_loop(self._cancel_calls())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_calls(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.close()

    def _run_on_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _check_server(self) -> None:
        """Raise `GeneratorError`, one sentence, when the server cannot be used; nothing is paid for by asking it."""
        server, model = self._server, self._generator_settings.model
        try:
            async with asyncio.timeout(min(server.timeout, 30)):
                async with self._client.models.with_streaming_response.list() as response:
                    known = parse_model_list(await response.read())
        except Exception as error:  # noqa: BLE001 - clients meet odd answers with whatever they stumble over
            raise _server_error(error, server, model) from None
        if known and model not in known:
            own = [without_key(name, server.api_key)[:NAME] for name in known[:NAMES]]
            raise GeneratorError(
                f"The server at {server.base_url} has no model {model!r}; it has {', '.join(own[:5])}."
                f"{did_you_mean(model, own)}"
            )

    def submit(self, request: GenerationRequest) -> None:
        """Begin the call of a request."""
        body, schema = make_request_body(request, self._generator_settings), request.response_schema
        response_format = make_response_format(schema) if schema and self._uses_schema else None

        async def run_call() -> None:
            try:
                self._results.put(await self._generate_with_retries(request.number, body, response_format))
            except Exception as error:  # noqa: BLE001 - is raised again where the responses are collected
                self._results.put(error)

        asyncio.run_coroutine_threadsafe(run_call(), self._loop)

    def collect(self, wait: bool) -> list[GenerationResponse]:
        """Return the responses that have come, with ``wait`` at least one; raise `GeneratorError` when no call can
        succeed, once no response is left."""
        results = [self._results.get()] if wait else []
        while not self._results.empty():
            results.append(self._results.get())
        responses = [result for result in results if isinstance(result, GenerationResponse)]
        for error in (result for result in results if isinstance(result, Exception)):
            if not responses:
                raise error
            self._results.put(error)
        return responses

    async def _generate_with_retries(
        self, number: int, body: dict[str, Any], response_format: dict[str, Any] | None
    ) -> GenerationResponse:
        """Return an answer, or after so many tries a problem."""
        state = _RequestState()
        while True:
            await self._rate_limiter.acquire()
            try:
                async with asyncio.timeout(self._server.timeout):
                    return state.add_usage(
                        await self._generate_once(number, body, response_format if self._uses_schema else None, state)
                    )
            except _RetryableError as error:
                problem, retry_after = str(error), error.retry_after
            except TimeoutError:
                problem, retry_after = f"no answer within {self._server.timeout:g} s", None
            self._rate_limiter.pause_for(retry_after or 0.0)
            state.count_failure(retry_after)
            if state.attempts >= self._server.max_attempts:
                return state.add_usage(GenerationResponse(number, None, problem))
            # Full jitter: those that failed together do not come back together.
            longest = self._server.initial_backoff * 2.0 ** min(state.failures - 1, 20)
            await asyncio.sleep(random.uniform(0, min(MAX_JITTER_AFTER_PAUSE if retry_after else MAX_BACKOFF, longest)))

    async def _generate_once(
        self, number: int, body: dict[str, Any], response_format: dict[str, Any] | None, state: _RequestState
    ) -> GenerationResponse:
        """Return the answer of one call; of two, where the server refuses the first and perhaps for its schema."""
        import openai

        try:
            if response_format is None:
                return await self._call_server(number, body, state)
            try:
                return await self._call_server(number, body | {"response_format": response_format}, state)
            except openai.APIStatusError as error:
                if error.status_code not in SCHEMA_STATUSES:
                    raise
            answer = await self._call_server(number, body, state)
            self._uses_schema = False
            return answer
        except MalformedResponseError as error:
            state.prompt_tokens += error.prompt_tokens
            state.completion_tokens += error.completion_tokens
            raise _RetryableError(str(error)) from None
        except openai.APIStatusError as error:
            return self._handle_status(number, error)
        except openai.APITimeoutError:
            raise TimeoutError from None
        except GeneratorError:
            raise
        except Exception as error:  # noqa: BLE001 - clients meet odd answers with whatever they stumble over
            raise _RetryableError(f"the connection failed ({type(error).__name__})") from None

    async def _call_server(self, number: int, body: dict[str, Any], state: _RequestState) -> GenerationResponse:
        state.calls += 1
        # As extra_body: what it is given by name the client checks part by part, which takes as long as the call.
        create = self._client.chat.completions.with_streaming_response.create
        async with create(model=body["model"], messages=[], extra_body=body) as response:
            self._rate_limiter.observe_headers(response.headers)
            answer = parse_response_body(number, await response.read())
            return replace(answer, text=answer.text and without_key(answer.text, self._server.api_key))

    def _handle_status(self, number: int, error: Any) -> GenerationResponse:
        """Say what an HTTP status means: again, never for this item, or never at all."""
        status = error.status_code
        if status in FATAL_STATUSES or 300 <= status < 400:
            raise _server_error(error, self._server, self._generator_settings.model)
        if status in FINAL_STATUSES:
            message = _read_server_message(error, self._server)
            problem = f"the server refused the item with status {status}{message and f': {message}'}"
            return GenerationResponse(number, None, problem, is_final=True)
        wait = parse_retry_after(error.response.headers) if status in (429, 503) else None
        raise _RetryableError(f"the server answered with status {status}", wait)


def _read_server_message(error: Any, server: ServerSettings) -> str:
    """Return the server's own words, cut; they may hold anything, but never our key."""
    body = error.body
    words = body.get("message") if isinstance(body, dict) else None
    message = words if isinstance(words, str) and words else error.response.reason_phrase
    line = " ".join(message[:MAX_CHARACTERS].split())
    return well_formed(without_key(line, server.api_key))[:200]


def _server_error(error: Exception, server: ServerSettings, model: str) -> GeneratorError:
    """Say in a sentence why no call can succeed."""
    status = getattr(error, "status_code", None)
    if status in (401, 403):
        key = f"the key in {server.api_key_env}" if server.api_key_env else "a call without a key (set api_key_env)"
        return GeneratorError(f"The server at {server.base_url} refuses {key} (status {status}).")
    if status == 404:
        return GeneratorError(
            f"The server at {server.base_url} knows no such address or no model {model!r} (status 404); the url "
            "usually ends in /v1. With check_server = false a server without a list of models can be used."
        )
    if status is not None and 300 <= status < 400:
        return GeneratorError(
            f"The server at {server.base_url} sends calls on to another address (status {status}), and they carry the "
            "key; set base_url to where its API is."
        )
    if status is not None:
        return GeneratorError(
            f"The server at {server.base_url} answered with status {status}: {_read_server_message(error, server)}."
        )
    if isinstance(error, MalformedResponseError):
        return GeneratorError(f"The server at {server.base_url} does not speak OpenAI's protocol: {error}.")
    reason = well_formed(without_key(str(error.__cause__ or error)[:MAX_CHARACTERS], server.api_key))[:200]
    reason = reason or type(error).__name__
    return GeneratorError(
        f"The server at {server.base_url} cannot be reached ({reason}); is it running, is the url right?"
    )
