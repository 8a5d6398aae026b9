"""`Served`: any server that speaks OpenAI's chat protocol (vLLM, SGLang, llama.cpp, hosted), by the official client."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any

from trialigngr.foundation.errors import did_you_mean
from trialigngr.llm.answers import MOST_CHARACTERS
from trialigngr.llm.api_keys import without_key
from trialigngr.llm.chat_protocol import (
    MalformedError,
    answer_from,
    body_for,
    listed_models,
    schema_for,
    well_formed,
)
from trialigngr.llm.client import client_for, refuse_unusable
from trialigngr.llm.generator import Answer, CallSettings, Form, GeneratorError, GeneratorSettings, Question
from trialigngr.llm.rate_limit import ASKED_WAIT, Pace, asked_wait

LONGEST_WAIT = 60.0
"""Seconds between two tries, unless the server asks for more."""
PATIENCE = 1.0
"""Most seconds that a call waits by itself beyond a pause that the server named."""
SOON = 0.1
"""Answers that came are taken so many seconds after the last ones, though there are places for more calls; or a little
later, as whoever makes the questions is waited for."""
NAME, NAMES = 100, 1000
"""Letters of a model's name that are repeated, and names that are looked at for one that is near."""
FATAL = {401, 403, 404}
FINAL = {400, 413, 422}
PERHAPS_THE_SCHEMA = {400, 422}


class _AgainError(Exception):
    """A fault that another try may pass; ``wait`` is what the server asked for, if it did."""

    def __init__(self, problem: str, wait: float | None = None) -> None:
        super().__init__(problem)
        self.wait = wait


@dataclass
class _Course:
    """How the asking of one question goes: calls, what those without an answer took, tries, seconds it was to wait."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tries: int = 0
    refusals: int = 0
    waited: float = 0.0

    def failed(self, asked: float | None) -> None:
        """Count a try; a refusal that says when to come back is none, as long as that is not too long in all."""
        self.refusals += 1
        if asked and self.waited < ASKED_WAIT:
            self.waited += max(asked, PATIENCE)
        else:
            self.tries += 1

    def ended(self, answer: Answer) -> Answer:
        """Return the answer with all that it took."""
        read, written = self.tokens_in + answer.tokens_in, self.tokens_out + answer.tokens_out
        return replace(answer, calls=self.calls, tokens_in=read, tokens_out=written)


class Served:
    """Many calls at once on an event loop of its own thread; an answer leaves its place free when it was taken."""

    def __init__(self, settings: GeneratorSettings, calls: CallSettings, form: Form = "text") -> None:
        refuse_unusable(settings, calls)
        self.name, self.settings = settings.identity("openai", calls)
        self._options, self._calls, self.size = settings, calls, calls.concurrency
        self._form, self._structured = form, calls.structured
        self._pace = Pace()
        self._client = client_for(calls)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            if calls.check:
                self._await(self._look())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Break off the calls that are out, close the connections and end the thread."""
        self._await(self._break_off())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _break_off(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.close()

    def _await(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _look(self) -> None:
        """Raise `GeneratorError`, one sentence, when the server cannot be used; nothing is paid for by asking it."""
        calls, model = self._calls, self._options.model
        try:
            async with asyncio.timeout(min(calls.timeout, 30)):
                async with self._client.models.with_streaming_response.list() as response:
                    known = listed_models(await response.read())
        except Exception as error:  # noqa: BLE001 - clients meet odd answers with whatever they stumble over
            raise _unusable(error, calls, model) from None
        if known and model not in known:
            own = [without_key(name, calls.key)[:NAME] for name in known[:NAMES]]
            raise GeneratorError(
                f"The server at {calls.url} has no model {model!r}; it has {', '.join(own[:5])}."
                f"{did_you_mean(model, own)}"
            )

    def answers(self, questions: Iterable[Question | None]) -> Iterator[list[Answer]]:
        """Yield the answers that have come, until all are there; raise `GeneratorError` when no call can succeed."""
        came: SimpleQueue[Answer | Exception] = SimpleQueue()
        flying, taken = 0, time.monotonic()
        for question in questions:
            if question is not None:
                self._send(question, came)
                flying += 1
            while flying >= self.size or _due(came, taken):
                group = _all_that_came(came)
                flying -= len(group)
                yield group
                taken = time.monotonic()
        while flying:
            group = _all_that_came(came)
            flying -= len(group)
            yield group

    def _send(self, question: Question, came: SimpleQueue[Answer | Exception]) -> None:
        number, body = question.number, body_for(question, self._options)
        schema = schema_for(self._form, question.choices) if self._structured else None

        async def call() -> None:
            try:
                came.put(await self._tried(number, body, schema))
            except Exception as error:  # noqa: BLE001 - is raised again where the answers are taken
                came.put(error)

        asyncio.run_coroutine_threadsafe(call(), self._loop)

    async def _tried(self, number: int, body: dict[str, Any], schema: dict[str, Any] | None) -> Answer:
        """Return an answer, or after so many tries a problem."""
        course = _Course()
        while True:
            await self._pace.may_go()
            try:
                async with asyncio.timeout(self._calls.timeout):
                    return course.ended(await self._once(number, body, schema if self._structured else None, course))
            except _AgainError as error:
                problem, asked = str(error), error.wait
            except TimeoutError:
                problem, asked = f"no answer within {self._calls.timeout:g} s", None
            self._pace.pause(asked or 0.0)
            course.failed(asked)
            if course.tries >= self._calls.tries:
                return course.ended(Answer(number, None, problem))
            # Full jitter: those that failed together do not come back together.
            longest = self._calls.first_wait * 2.0 ** min(course.refusals - 1, 20)
            await asyncio.sleep(random.uniform(0, min(PATIENCE if asked else LONGEST_WAIT, longest)))

    async def _once(self, number: int, body: dict[str, Any], schema: dict[str, Any] | None, course: _Course) -> Answer:
        """Return the answer of one call; of two, where the server refuses the first and perhaps for its schema."""
        import openai

        try:
            if schema is None:
                return await self._call(number, body, course)
            try:
                return await self._call(number, body | {"response_format": schema}, course)
            except openai.APIStatusError as error:
                if error.status_code not in PERHAPS_THE_SCHEMA:
                    raise
            answer = await self._call(number, body, course)
            self._structured = False
            return answer
        except MalformedError as error:
            course.tokens_in += error.tokens_in
            course.tokens_out += error.tokens_out
            raise _AgainError(str(error)) from None
        except openai.APIStatusError as error:
            return self._refused(number, error)
        except openai.APITimeoutError:
            raise TimeoutError from None
        except GeneratorError:
            raise
        except Exception as error:  # noqa: BLE001 - clients meet odd answers with whatever they stumble over
            raise _AgainError(f"the connection failed ({type(error).__name__})") from None

    async def _call(self, number: int, body: dict[str, Any], course: _Course) -> Answer:
        course.calls += 1
        # As extra_body: what it is given by name the client checks part by part, which takes as long as the call.
        create = self._client.chat.completions.with_streaming_response.create
        async with create(model=body["model"], messages=[], extra_body=body) as response:
            self._pace.heed(response.headers)
            answer = answer_from(number, await response.read())
            return replace(answer, text=answer.text and without_key(answer.text, self._calls.key))

    def _refused(self, number: int, error: Any) -> Answer:
        """Say what an HTTP status means: again, never for this item, or never at all."""
        status = error.status_code
        if status in FATAL or 300 <= status < 400:
            raise _unusable(error, self._calls, self._options.model)
        if status in FINAL:
            problem = f"the server refused the item with status {status}: {_said(error, self._calls)}".rstrip(": ")
            return Answer(number, None, problem, final=True)
        wait = asked_wait(error.response.headers) if status in (429, 503) else None
        raise _AgainError(f"the server answered with status {status}", wait)


def _due(came: SimpleQueue[Answer | Exception], taken: float) -> bool:
    """Say whether answers wait and the last ones were taken some time ago: questions may be slow to come."""
    return not came.empty() and time.monotonic() - taken > SOON


def _all_that_came(came: SimpleQueue[Answer | Exception]) -> list[Answer]:
    """Return the next answer and those that wait behind it; raise what a call raised once no answer is left."""
    group = [came.get()]
    while not came.empty():
        group.append(came.get())
    answers = [one for one in group if isinstance(one, Answer)]
    for one in group:
        if isinstance(one, Exception):
            if not answers:
                raise one
            came.put(one)
    return answers


def _said(error: Any, calls: CallSettings) -> str:
    """Return the server's own words, cut; they may hold anything, but never our key."""
    body = error.body
    words = body.get("message") if isinstance(body, dict) else None
    told = words if isinstance(words, str) and words else error.response.reason_phrase
    said = " ".join(told[:MOST_CHARACTERS].split())
    return well_formed(without_key(said, calls.key))[:200]


def _unusable(error: Exception, calls: CallSettings, model: str) -> GeneratorError:
    """Say in a sentence why no call can succeed."""
    status = getattr(error, "status_code", None)
    if status in (401, 403):
        key = f"the key in {calls.key_variable}" if calls.key_variable else "a call without a key (set key_variable)"
        return GeneratorError(f"The server at {calls.url} refuses {key} (status {status}).")
    if status == 404:
        return GeneratorError(
            f"The server at {calls.url} knows no such address or no model {model!r} (status 404); the url usually ends "
            "in /v1. With check = false a server without a list of models can be used."
        )
    if status is not None and 300 <= status < 400:
        return GeneratorError(
            f"The server at {calls.url} sends calls on to another address (status {status}), and they carry the key; "
            "set the url in calls to where its API is."
        )
    if status is not None:
        return GeneratorError(f"The server at {calls.url} answered with status {status}: {_said(error, calls)}.")
    if isinstance(error, MalformedError):
        return GeneratorError(f"The server at {calls.url} does not speak OpenAI's protocol: {error}.")
    reason = well_formed(without_key(str(error.__cause__ or error)[:MOST_CHARACTERS], calls.key))[:200]
    reason = reason or type(error).__name__
    return GeneratorError(f"The server at {calls.url} cannot be reached ({reason}); is it running, is the url right?")
