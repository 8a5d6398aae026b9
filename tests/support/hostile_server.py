"""A real server that means ill: it answers as it was told, whatever that is, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchmarks.servers.chat import MODEL
from trialigngr.llm.client import MOST_BYTES

GOOD: dict[str, Any] = {
    "interests": [{"tag": f"weekend {name}", "confidence": "high"} for name in ("hiker", "barista")],
    "lifestyle": "slow mornings",
}


@dataclass
class Hostile:
    """Answers every call as it was told: a body, or bytes, a status and headers; keeps what it was asked."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    models: Any = field(default_factory=lambda: {"data": [{"id": MODEL}]})
    endless: bool = False
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""


@contextmanager
def listening(told: Hostile) -> Iterator[Hostile]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(told.models, 200, {})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(told.body, told.status, told.headers)

        def answer(self, body: Any, status: int, headers: dict[str, str]) -> None:
            told.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(raw)
                for _ in range(40 if told.endless and self.command == "POST" else 0):
                    self.wfile.write(b" " * (MOST_BYTES // 8))
            except OSError:
                pass  # the client has had enough

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Ready(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Ready(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def completion(text: str = json.dumps(GOOD), usage: object = None) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}}], "usage": usage}
