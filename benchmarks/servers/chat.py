"""A local server that speaks OpenAI's chat protocol over real sockets, with faults by a seeded script.

It answers about the item whose title stands in the question ("item 17"), and counts what it was asked for each.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any
from urllib.request import urlopen

MODEL = "tiny-chat"
FAULTS = (
    "429", "429 retry-after", "429 milliseconds", "429 date", "500", "503", "timeout", "cut", "half", "empty",
    "no json", "no choice", "huge", "twice", "late", "prose", "other language", "generic",
)  # fmt: skip
REFUSED = {"prose", "other language", "generic"}
"""Answers that are whole and of no use: the client asks once more."""
GOOD = {"", "twice", "late"}


@dataclass(frozen=True)
class Script:
    """How the server behaves: seconds an answer takes, the share of calls with a fault, and which faults.

    With a ``window`` of so many seconds, ``allowed`` calls are let in during each. The others are refused (429) and
    told when it ends; where a limit is named (``limit``: its headers' end), the last that is let in is told so too.
    Calls that come between that and the time named are counted as early.
    """

    seed: int = 0
    delay: float = 0.01
    share: float = 0.0
    faults: Sequence[str] = FAULTS
    hang: float = 3.0
    key: str = ""
    schema: bool = True
    models: str = ""
    in_turn: bool = False
    turns: int = 1
    window: float = 0.0
    allowed: int = 8
    limit: str | None = None

    def fault(self, item: str, attempt: int) -> str:
        """Return what goes wrong with a call about an item.

        Useless answers come at the first call only, and every sixth call is sound, so that every item has an answer.
        ``in_turn`` gives each item the next fault, so many ``turns``.
        """
        if self.in_turn:
            return self.faults[int(item.split()[1]) % len(self.faults)] if attempt < self.turns else ""
        draw = random.Random(f"{self.seed} {item} {attempt}")
        fault = draw.choice(list(self.faults)) if draw.random() < self.share and attempt % 6 < 5 else ""
        return "" if attempt and fault in REFUSED else fault


@dataclass
class Server:
    """The server's memory: calls and good answers by item."""

    script: Script
    calls: Counter[str] = field(default_factory=Counter)
    good: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    early: int = 0
    refused: int = 0
    _ends: float = 0.0
    _named: float = inf
    _let_in: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until it ends."""
        try:
            while request := await _read(reader):
                if not await self._answer(*request, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; say whether the connection goes on."""
        if path == "/stats":
            return await _send(writer, 200, json.dumps(self._told()))
        if self.script.key and headers.get("authorization") != f"Bearer {self.script.key}":
            return await _send(writer, 401, '{"error": {"message": "no such key"}}')
        if path == "/v1/models":
            return await _send(writer, 200, self.script.models or json.dumps({"data": [{"id": MODEL}]}))
        if path != "/v1/chat/completions":
            return await _send(writer, 404, '{"error": {"message": "no such path"}}')
        asked = json.loads(body)
        if not self.script.schema and "response_format" in asked:
            return await _send(writer, 400, '{"error": {"message": "a field of the request is not known"}}')
        if len(self.bodies) < 3:
            self.bodies.append(asked)
        found = re.search(r"item \d+", json.dumps(asked["messages"][-1]["content"]))
        item = found[0] if found else "item 0"
        fault = self.script.fault(item, self.calls[item])
        self.calls[item] += 1
        header = "x: y"
        if self.script.window:
            let_in, header = self._at_the_door(time.monotonic())
            if not let_in:
                return await _send(writer, 429, "{}", header)
        await asyncio.sleep(self.script.delay)
        self.good[item] += fault in GOOD
        if fault == "told the key":
            told = json.dumps({"error": {"message": f"no {headers.get('authorization', '')} here"}})
            return await _send(writer, 400, told)
        return await self._behave(fault, item, writer, header)

    def _told(self) -> dict[str, Any]:
        names = ("calls", "good", "bodies", "early", "refused")
        return {name: getattr(self, name) for name in names}

    def _at_the_door(self, now: float) -> tuple[bool, str]:
        """Say whether a call is let in, and the header of what it is told."""
        script = self.script
        if now >= self._ends:
            self._ends, self._named, self._let_in = now + script.window, inf, 0
        self.early += now > self._named
        left = f"{(self._ends - now) * 1000 + 1:.0f}"
        self._let_in += 1
        if self._let_in < script.allowed or (self._let_in == script.allowed and script.limit is None):
            return True, "x: y"
        self._named = min(now, self._named)
        if self._let_in == script.allowed:
            return True, f"x-ratelimit-remaining{script.limit}: 0\r\nx-ratelimit-reset{script.limit}: {left}ms"
        self.refused += 1
        return False, f"retry-after-ms: {left}"

    async def _behave(self, fault: str, item: str, writer: asyncio.StreamWriter, header: str) -> bool:
        whole = _completion(_said(item, fault))
        match fault:
            case "400" | "429" | "500" | "503":
                return await _send(writer, int(fault), '{"error": {"message": "not now"}}')
            case "429 retry-after":
                return await _send(writer, 429, "{}", "retry-after: 0.05")
            case "429 milliseconds":
                return await _send(writer, 429, "{}", "retry-after-ms: 30")
            case "429 date":
                return await _send(writer, 429, "{}", "retry-after: Thu, 01 Jan 2026 00:00:00 GMT")
            case "timeout":
                await asyncio.sleep(self.script.hang)
                return False
            case "cut":
                return False
            case "half":
                await _send(writer, 200, whole, cut=len(whole) // 2)
                return False
            case "empty":
                return await _send(writer, 200, "")
            case "no json":
                return await _send(writer, 200, whole[:-9])
            case "no text":
                return await _send(writer, 200, _completion(""))
            case "no choice":
                return await _send(writer, 200, '{"choices": []}')
            case "huge":
                return await _send(writer, 200, " " * 10_000_000 + whole)
            case "twice":
                await _send(writer, 200, whole)
                return await _send(writer, 200, whole)
            case "late":
                await asyncio.sleep(random.Random(item).uniform(0, 0.1))
        return await _send(writer, 200, whole, header)


async def _read(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes] | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    return head[0].split()[1], headers, await reader.readexactly(int(headers.get("content-length", "0")))


async def _send(
    writer: asyncio.StreamWriter, status: int, text: str, header: str = "x: y", cut: int | None = None
) -> bool:
    body = text.encode()
    head = f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n{header}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body[:cut])
    await writer.drain()
    return True


def _said(item: str, fault: str) -> str:
    if fault == "prose":
        return f"Certainly! {item} is for people who like it."
    tags = [f"{item} collector", f"{item} restorer"]
    if fault == "other language":
        tags = ["собиратель марок", "любитель чая"]
    if fault == "generic":
        tags = ["product", "shopping"]
    body = {"interests": [{"tag": tag, "confidence": "high"} for tag in tags], "lifestyle": f"{item} life"}
    return json.dumps(body, ensure_ascii=False)


def _completion(text: str) -> str:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 200, "completion_tokens": 40}})


def _run(script: Script, ports: Any) -> None:
    async def forever() -> None:
        server = await asyncio.start_server(Server(script).serve, "127.0.0.1", 0, limit=1 << 24, backlog=1024)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


@contextmanager
def chat_server(script: Script) -> Iterator[str]:
    """Run the server in a process of its own; give the url of its API."""
    context = multiprocessing.get_context("spawn")
    ports = context.SimpleQueue()
    process = context.Process(target=_run, args=(script, ports), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ports.get()}/v1"
    finally:
        process.kill()
        process.join()
        process.close()
        ports.close()


def stats(url: str) -> dict[str, Any]:
    """Return what the server has counted: ``calls`` and ``good`` by item, and the first ``bodies``."""
    with urlopen(url.removesuffix("/v1") + "/stats") as response:
        found: dict[str, Any] = json.load(response)
    return found
