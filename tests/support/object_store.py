"""An object store of our own: what of S3's protocol a reader of tables asks for, on the loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.loopback import QuietHandler, serve_on_loopback

ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2020-01-01T00:00:00.000Z</LastModified><ETag>x</ETag>"
    "<Size>{size}</Size></Contents>"
)
LISTING = "<ListBucketResult><Prefix>{prefix}</Prefix><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"


@dataclass
class ObjectStore:
    """``objects``: ``bucket/key`` → bytes. ``asked`` are the paths that were read."""

    port: int = 0
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables by which a client of S3 finds the store."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "something",
            "AWS_REGION": "us-east-1",
        }

    def list_objects(self, bucket: str, prefix: str) -> bytes:
        """Return S3's answer to what begins with ``prefix``."""
        keys = (path.removeprefix(f"{bucket}/") for path in sorted(self.objects) if path.startswith(f"{bucket}/"))
        entries = (ENTRY.format(key=key, size=len(self.objects[f"{bucket}/{key}"])) for key in keys)
        return LISTING.format(
            prefix=prefix, entries="".join(one for one in entries if f"<Key>{prefix}" in one)
        ).encode()


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Run the store."""
    store = ObjectStore()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path, query = unquote(parts.path[1:]), parse_qs(parts.query)
            store.asked.append(path)
            if "list-type" in query:
                self.send(store.list_objects(path, query.get("prefix", [""])[0]))
            elif path in store.objects:
                self.send_range(store.objects[path])
            else:
                self.send(b"", 404)

        def send_range(self, body: bytes) -> None:
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            begin = int(first) if first else max(0, len(body) - int(last))
            end = min(int(last), len(body) - 1) if first and last else len(body) - 1
            self.send(body[begin : end + 1], 206, **{"Content-Range": f"bytes {begin}-{end}/{len(body)}"})

        def send(self, body: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            dated = {"Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT", "ETag": '"x"'}
            for name, value in {**dated, **headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    with serve_on_loopback(Handler) as store.port:
        yield store
