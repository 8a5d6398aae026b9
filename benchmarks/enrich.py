"""Language models by the hundred thousand calls: throughput, faults with kills, memory, resume.

``make bench NAME=enrich`` takes about ten minutes on two cores. ``TRIALIGNGR_BENCH_ITEMS`` makes all of it smaller.
Server and client are processes of their own on this machine, and share its cores.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from benchmarks.harness import Check, at_least, below, peak_memory
from benchmarks.servers.chat import MODEL, Script, chat_server, stats
from benchmarks.servers.mining import SETTINGS, killed, make_calls, mine, settled, titled
from trialigngr.enrich.interests import load_interests
from trialigngr.enrich.mining import InterestJob
from trialigngr.llm.chat_protocol import make_request_body, make_response_format
from trialigngr.llm.jobs import iter_job_rows
from trialigngr.llm.response_cache import ResponseCache, ResponseRecord

ITEMS = int(os.environ.get("TRIALIGNGR_BENCH_ITEMS", "100000"))
CONCURRENCY = 256
DELAY = 0.5
ROUNDS = 3


def measure() -> list[Check]:
    """Return all checks."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        return [*_throughput(root), *_faults(root), *_memory(root), *_resume(root)]


async def _bare(url: str, items: int) -> None:
    """Ask as barely as can be: one loop, one semaphore, connections kept, nothing checked and nothing written down."""
    from httpx2 import AsyncClient, Limits

    inquiry = InterestJob(SETTINGS, titled(items), [None] * items, "bare")
    limits = Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY)
    gate = asyncio.Semaphore(CONCURRENCY)
    async with AsyncClient(limits=limits, timeout=60) as client:

        async def ask(number: int) -> str:
            async with gate:
                request = inquiry.make_request(number)
                response_format = make_response_format(request.response_schema or {})
                body = make_request_body(request, SETTINGS) | {"response_format": response_format}
                answer = await client.post(f"{url}/chat/completions", json=body)
                said: str = answer.json()["choices"][0]["message"]["content"]
                return said

        await asyncio.gather(*(ask(number) for number in range(items)))


def _throughput(root: Path) -> list[Check]:
    """Return our calls a second against the bare loop's, in turn on one server."""
    items = min(ITEMS, 10 * CONCURRENCY)
    ours, bare = [], []
    with chat_server(Script(delay=DELAY)) as url:
        for turn in range(ROUNDS + 1):
            began = time.perf_counter()
            mine(root / f"turn{turn}", items, make_calls(url, max_concurrency=CONCURRENCY))
            middle = time.perf_counter()
            asyncio.run(_bare(url, items))
            ours.append(middle - began)
            bare.append(time.perf_counter() - middle)
    shares = sorted(theirs / own for own, theirs in zip(ours[1:], bare[1:], strict=True))
    print(f"{items:,} items: ours {items / min(ours):.0f} a second, bare loop {items / min(bare):.0f}")
    return [at_least(f"throughput at {CONCURRENCY} calls, of a bare loop's", shares[len(shares) // 2], 0.9)]


def _faults(root: Path) -> list[Check]:
    """Return what a misbehaving server and five kills cost."""
    items, concurrency = min(ITEMS, 10_000), 64
    folder = root / "faults"
    with chat_server(Script(share=0.2, hang=3)) as url:
        calls = make_calls(url, max_concurrency=concurrency, timeout=2, max_attempts=12, initial_backoff=0.02)
        lost = killed(5, folder, items, calls)
        again = sum(number - 1 for number in stats(url)["good"].values())
    wrong = sum(one.lifestyle != f"item {row} life" for row, one in enumerate(load_interests(folder)))
    return [
        below(f"{items:,} items, faults, five kills: counted results lost", lost, 1),
        below("… calls made again", again, 5 * concurrency + 1),
        below("… items with another answer than theirs, or none", wrong, 1),
    ]


def _memory(root: Path) -> list[Check]:
    """Return the growth of a client's peak memory from a thousand items to a hundred times as many."""
    peaks = []
    with chat_server(Script(delay=0.0)) as url:
        for items in (ITEMS // 100, ITEMS):
            words = [sys.executable, "-m", "benchmarks.servers.mining", str(root / f"memory{items}"), str(items), url]
            peaks.append(peak_memory(words))
    print(f"peak memory: {peaks[0] / 1e6:.0f} MB, then {peaks[1] / 1e6:.0f} MB")
    return [below("peak memory, against that of a hundredth of the items", peaks[1] / peaks[0], 1.5)]


def _resume(root: Path) -> list[Check]:
    """Return the seconds of a run over a ledger that holds all answers."""
    folder = root / "resume"
    folder.mkdir()
    inquiry = InterestJob(SETTINGS, titled(ITEMS), [None] * ITEMS, f"openai:{MODEL}")
    recorded = SETTINGS.identify_model("openai")[1]
    keys = [row.key for row in iter_job_rows(inquiry, recorded, range(ITEMS))]
    said = '{"interests": [{"tag": "a b", "confidence": "high"}, {"tag": "c d", "confidence": "low"}],'
    said += ' "lifestyle": "e f"}'
    with ResponseCache(folder / "responses.sqlite") as ledger:
        for first in range(0, ITEMS, 10_000):
            some = keys[first : first + 10_000]
            for start in range(0, len(some), 500):
                ledger.lease_keys(some[start : start + 500], inquiry.origin, 1)
            ledger.record_responses([ResponseRecord(key, said, None, False, 1, 200, 40) for key in some])
    with chat_server(Script()) as url:
        began = time.perf_counter()
        mine(folder, ITEMS, make_calls(url))
        seconds = time.perf_counter() - began
        assert stats(url)["calls"] == {}
    assert len(settled(folder)) == pl.read_parquet(folder / "interests.parquet").height == ITEMS
    return [below(f"resume over a complete ledger of {ITEMS:,} rows", seconds, 5, "s")]
