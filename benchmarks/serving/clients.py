"""Clients in a process of their own: ``python -m benchmarks.serving.clients ADDRESS REQUESTS.jsonl --clients 8``.

Each client holds one connection and asks again as soon as it has an answer, with the next of the requests, over and
over. The last line is what they saw, as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

import numpy as np


@dataclass
class Answers:
    """Status → how often; the milliseconds that each answer took, and the seconds that all of it took."""

    statuses: dict[str, int] = field(default_factory=dict)
    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.milliseconds) / self.seconds

    def find_percentile(self, percent: float) -> float:
        """Return the milliseconds within which so many percent of the answers came."""
        return float(np.percentile(self.milliseconds, percent))

    def count_others(self, *expected: str) -> int:
        """Return how many answers had another status than those expected; a broken connection is one of them."""
        return sum(times for status, times in self.statuses.items() if status not in expected)


async def ask_all(address: str, requests: list[bytes], settings: argparse.Namespace) -> Answers:
    """Return what all clients saw."""
    host, port = urlsplit(address).hostname, urlsplit(address).port
    answers, numbers, texts = Answers(), iter(range(settings.number)), cycle(requests)
    begun = perf_counter()

    async def ask_again() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        while perf_counter() - begun < settings.seconds and next(numbers, None) is not None:
            asked = perf_counter()
            writer.write(next(texts))
            status = await read_status(reader)
            answers.statuses[status] = answers.statuses.get(status, 0) + 1
            answers.milliseconds.append(1000 * (perf_counter() - asked))
            if status == BROKEN:
                return
            await asyncio.sleep(settings.pause)
        writer.close()

    await asyncio.gather(*(ask_again() for _ in range(settings.clients)))
    answers.seconds = perf_counter() - begun
    return answers


BROKEN = "broken"


async def read_status(reader: asyncio.StreamReader) -> str:
    """Return the status of an answer that is read to its end, `BROKEN` where there is none."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        lengths = [line.partition(":")[2] for line in head if line.startswith("content-length:")]
        await reader.readexactly(int(lengths[0]))
    except (asyncio.IncompleteReadError, ConnectionError, IndexError):
        return BROKEN
    return head[0].split()[1]


def write_request(line: str) -> bytes:
    """Return the text of a request of ``{"path": …, "body": …}``; without a body it is a GET."""
    asked = json.loads(line)
    body = json.dumps(asked["body"]).encode() if "body" in asked else b""
    method = "POST" if body else "GET"
    head = f"{method} {asked['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: application/json\r\n\r\n".encode() + body


def main() -> None:
    """Ask for as long as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("file", type=Path)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--number", type=int, default=10**9)
    parser.add_argument("--pause", type=float, default=0.0)
    settings = parser.parse_args()
    requests = [write_request(line) for line in settings.file.read_text("utf-8").splitlines()]
    print(json.dumps(asdict(asyncio.run(ask_all(settings.address, requests, settings)))))


if __name__ == "__main__":
    main()
