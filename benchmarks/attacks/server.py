"""Forty-eight answers of a hostile server: the run goes on or ends with a sentence, and the key is kept nowhere."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote

import polars as pl

from benchmarks.attacks.cases import Outcome, count_ends, try_cases
from benchmarks.attacks.replies import ELSEWHERE, ESCAPE, KEY, Reply, Say, replies, say, whole_answer
from benchmarks.attacks.small_run import call
from benchmarks.harness import Check, below

SECONDS = 120.0
VARIABLE = "ROBUSTNESS_API_KEY"
GOOD = {"went on", "ended with a sentence"}
MODEL = "hostile-1"
ENDLESS = 64 * 1024 * 1024
"""Bytes of an answer without an end: the server's patience."""


# --- the server ---


@dataclass
class _Memory:
    """What to say, the address of the stranger's server, and what came there."""

    say: Say
    elsewhere: str = ""
    came: list[str] = field(default_factory=list)


def _handler(memory: _Memory, stranger: bool) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self._answer("models", b"")

        def do_POST(self) -> None:
            self._answer("chat", self.rfile.read(int(self.headers.get("content-length", "0"))))

        def _answer(self, at: str, asked: bytes) -> None:
            if stranger:
                memory.came.append(f"{self.command} with{'' if KEY in str(self.headers) else 'out'} the key")
            reply = memory.say(b"interest" in asked.lower())
            if stranger or reply.at != at:
                sound = (
                    {"data": [{"id": MODEL}]} if at == "models" else whole_answer(say("", b"interest" in asked.lower()))
                )
                reply = Reply(json.dumps(sound).encode())
            with suppress(ConnectionError, BrokenPipeError):
                self._send(reply)

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in (("content-type", "application/json"), *reply.headers):
                self.send_header(name, value.replace(ELSEWHERE, memory.elsewhere))
            if not reply.endless:
                self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
            sent = 0
            while reply.endless and sent < ENDLESS:
                block = reply.body * (1 if reply.slow else 65536)
                self.wfile.write(block)
                sent += ENDLESS // 200 if reply.slow else len(block)
                time.sleep(0.1 if reply.slow else 0)

    return Handler


@contextmanager
def hostile_server(memory: _Memory) -> Iterator[str]:
    """Serve on this machine, and beside it a stranger's server; give the url of the API."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _handler(memory, stranger)) for stranger in (False, True)]
    for server in servers:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    here, elsewhere = (f"http://127.0.0.1:{server.server_address[1]}/v1" for server in servers)
    memory.elsewhere = f"{elsewhere}/chat/completions"
    try:
        yield here
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


# --- the run ---


def words(run: Path, url: str) -> list[str]:
    """Return the words of a run up to its interests, with captions and interests from a server."""
    server = {
        "base_url": url, "api_key_env": VARIABLE, "max_attempts": 2, "initial_backoff": 0.01, "timeout": 3,
        "max_concurrency": 8,
    }  # fmt: skip
    settings: dict[str, Any] = {"shop.num_items": 16, "shop.num_shoppers": 20, "catalog.k_core": 0}
    settings |= {"calls.max_consecutive_failures": 4, "calls.max_runs": 1}
    for stage in ("captions", "interests"):
        settings |= {f"{stage}.generator": "openai", f"{stage}.model": MODEL}
        settings |= {f"calls.{stage}.openai.{name}": value for name, value in server.items()}
    sets = [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    return ["run", "trialigngr-demo", "--out", str(run), "--until", "interests", "--yes", *sets]


def measure(folder: Path) -> list[Check]:
    """Return how many answers ended a run otherwise than by a sentence, or left the key somewhere."""
    cases = {name: (name, folder / "catalogue") for name in replies()}
    try_cases(_make, {"the catalogue": folder / "catalogue"}, folder / "made.jsonl", 300)
    ends = count_ends("hostile server", try_cases(meet, cases, folder / "server.jsonl", SECONDS), GOOD)
    crashed = sum(ends[end] for end in ("traceback", "abort", "hang", "odd exit"))
    return [
        below(f"{len(cases)} answers of a hostile server: tracebacks, aborts, hangs", crashed, 1),
        below("… runs with the key in a file, or in what was said", ends["key kept"], 1),
        below("… questions sent to another server", ends["sent elsewhere"], 1),
        below("… terminal escapes said raw", ends["raw escapes"], 1),
    ]


def _make(run: Path) -> Outcome:
    """Make what stands before the captions."""
    shutil.rmtree(run, ignore_errors=True)
    listed = words(run, "http://127.0.0.1:9/v1")
    listed[listed.index("interests")] = "catalog"
    done = call(*listed)
    assert done.code == 0, done.err
    return Outcome("went on")


def meet(case: tuple[str, Path]) -> Outcome:
    """Return how a run went that was answered so."""
    name, catalogue = case
    memory = _Memory(replies()[name])
    os.environ[VARIABLE] = KEY
    with tempfile.TemporaryDirectory() as scratch, hostile_server(memory) as url:
        run = Path(shutil.copytree(catalogue, Path(scratch) / "run"))
        done = call(*words(run, url), terminal=True)
        if memory.came:
            return Outcome("sent elsewhere", memory.came[0])
        if where := next((str(place) for place, text in _kept(run) if holds_key(text)), None):
            return Outcome("key kept", where.replace(scratch, ""))
        if holds_key(done.out + done.err):
            return Outcome("key kept", f"said: {done.err[-300:]}")
        if ESCAPE in done.out + done.err:
            return Outcome("raw escapes", ascii(done.err[-300:]))
        if done.code == 0:
            return Outcome("went on")
        right = done.code == 2 and done.error and "\n" not in done.error
        return Outcome("ended with a sentence" if right else "odd exit", f"{done.code}: {done.err[-300:]}")


def holds_key(text: str) -> bool:
    """Say whether a text holds the key: plainly, escaped as in JSON or a URL, or in base64, alone or among more."""
    plain = [text, unquote(text), text.replace("\\/", "/")]
    for run in re.findall(r"[A-Za-z0-9+/_-]{16,}={0,2}", text):
        for some in (run, run.rstrip("=")[: len(run.rstrip("=")) // 4 * 4]):
            with suppress(ValueError):
                plain.append(
                    base64.b64decode(some.translate(str.maketrans("-_", "+/")), validate=True).decode("latin-1")
                )
    return any(KEY in one for one in plain)


def _kept(run: Path) -> Iterator[tuple[Path, str]]:
    """Yield the texts of every file of a run, tables and the ledger unpacked."""
    for path in sorted(path for path in run.rglob("*") if path.is_file() and path.suffix != ".png"):
        yield path, path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            yield path, json.dumps(pl.read_parquet(path).to_dicts(), default=str, ensure_ascii=False)
        if path.suffix == ".sqlite":
            with closing(sqlite3.connect(path)) as base:
                for (table,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                    # The name comes out of the ledger itself.
                    for row in base.execute(f'SELECT * FROM "{table}"'):
                        yield (
                            path,
                            " ".join(one.decode("latin-1") if isinstance(one, bytes) else str(one) for one in row),
                        )
