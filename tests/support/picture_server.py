"""A real server of pictures that misbehaves by path: what a shop's own server, or a hostile one, may do."""

from __future__ import annotations

import gzip
import io
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from PIL import Image

BOMB = gzip.compress(bytes(50_000_000))
"""Made before anybody waits for it."""


def drawn(colour: str, size: tuple[int, int] = (40, 30), form: str = "PNG") -> bytes:
    """Return the bytes of a picture of one colour."""
    held = io.BytesIO()
    Image.new("RGB", size, colour).save(held, form)
    return held.getvalue()


@dataclass
class PictureServer:
    """``asked`` counts the requests by path; those that are not finished end when ``ending`` is set.

    What lies below ``together`` is answered to ``four`` at a time, who ask at one time.
    """

    port: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    ending: threading.Event = field(default_factory=threading.Event)
    four: threading.Barrier = field(default_factory=lambda: threading.Barrier(4, timeout=60))

    @property
    def host(self) -> str:
        """What a setting names."""
        return f"127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"http://{self.host}/{path}"


@contextmanager
def picture_server() -> Iterator[PictureServer]:
    """Run the server."""
    told = PictureServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            told.asked[self.path] += 1
            name, _, rest = unquote(self.path[1:].partition("?")[0]).partition("/")
            try:
                getattr(self, name, self.nothing)(rest)
            except OSError:
                self.close_connection = True  # the client has had enough

        def send(self, body: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for header, value in ({"Content_Length": str(len(body))} | headers).items():
                self.send_header(header.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def nothing(self, rest: str) -> None:
            self.send(b"not here", 404)

        def gone(self, rest: str) -> None:
            self.send(b"", int(rest))

        def colour(self, rest: str) -> None:
            self.send(drawn(rest))

        def large(self, rest: str) -> None:
            self.send(drawn(rest, (2000, 500), "JPEG"))

        def html(self, rest: str) -> None:
            self.send(b"<html>please log in</html>", Content_Type="image/png")

        def to(self, rest: str) -> None:
            self.send(b"", 302, Location=rest if "://" in rest else f"/{rest}")

        def around(self, rest: str) -> None:
            self.send(b"", 302, Location=f"/around/{int(rest) + 1}")

        def endless(self, rest: str) -> None:
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            while not told.ending.is_set():
                self.wfile.write(b"x" * 65536)

        def huge(self, rest: str) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "99999999999")
            self.end_headers()
            self.close_connection = True

        def short(self, rest: str) -> None:
            body = drawn("red")
            self.send(body[:-20], Content_Length=str(len(body)), Connection="close")
            self.close_connection = True

        def cut(self, rest: str) -> None:
            if told.asked[self.path] == 1:
                self.short(rest)
            else:
                self.colour(rest)

        def less(self, rest: str) -> None:
            body = drawn("red")
            self.send(body, Content_Length=str(len(body) - 30), Connection="close")
            self.close_connection = True

        def drip(self, rest: str) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.drops(b"x" * 1000)

        def headers_drip(self, rest: str) -> None:
            self.drops(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000)

        def drops(self, body: bytes) -> None:
            for one in body:
                self.wfile.write(bytes([one]))
                self.wfile.flush()
                if told.ending.wait(0.05):
                    break
            self.close_connection = True

        def bomb(self, rest: str) -> None:
            self.send(BOMB, Content_Encoding="gzip")

        def busy(self, rest: str) -> None:
            if told.asked[self.path] < 3:
                self.send(b"", int(rest), Retry_After="0")
            else:
                self.send(drawn("blue"))

        def together(self, rest: str) -> None:
            told.four.wait()
            self.colour(rest)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield told
    finally:
        told.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()
