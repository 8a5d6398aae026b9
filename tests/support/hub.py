"""A hub of our own: what of the Hugging Face Hub's protocol pushing and loading a run asks for, on the loopback."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.loopback import QuietHandler, serve_on_loopback


@dataclass
class Hub:
    """``repos``: OWNER/NAME → path → bytes. ``private`` names those that were made so."""

    port: int = 0
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def revision(self, name: str) -> str:
        """Return 40 digits that change with what a repository holds."""
        return hashlib.sha1(repr(sorted(self.repos[name].items())).encode()).hexdigest()

    def describe(self, name: str) -> dict[str, Any]:
        files = [{"rfilename": path, "size": len(body)} for path, body in self.repos[name].items()]
        return {"id": name, "sha": self.revision(name), "private": name in self.private, "tags": [], "siblings": files}

    def list_tree(self, name: str) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": path, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
            for path, body in self.repos[name].items()
        ]

    def commit(self, name: str, lines: bytes) -> None:
        """Take up the changes of a commit: one JSON object a line."""
        for line in lines.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                self.repos[name][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "deletedFile":
                del self.repos[name][entry["value"]["path"]]


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Run the hub."""
    hub = Hub()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            hub.asked.append("/".join(parts))
            name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
            if name not in hub.repos:
                self.send(b"", 404, **{"X-Error-Code": "RepoNotFound"})
            elif parts[0] == "api" and parts[4:5] == ["tree"]:
                self.send_json(hub.list_tree(name))
            elif parts[0] == "api":
                self.send_json(hub.describe(name))
            else:
                self.send_file(name, "/".join(parts[4:]))

        do_HEAD = do_GET

        def do_POST(self) -> None:
            body, parts = self.read_body(), urlsplit(self.path).path.strip("/").split("/")
            if parts == ["api", "repos", "create"]:
                self.create(json.loads(body))
                return
            name, action = "/".join(parts[2:4]), "/".join(parts[4:5])
            if parts == ["api", "validate-yaml"]:
                self.send_json({"errors": [], "warnings": []})
            elif action == "preupload":
                files = [file["path"] for file in json.loads(body)["files"]]
                self.send_json({"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in files]})
            elif action == "commit":
                hub.commit(name, body)
                self.send_json({"commitUrl": f"{hub.url}/{name}/commit/1", "commitOid": hub.revision(name)})
            else:
                self.send_json({})

        def create(self, asked: dict[str, Any]) -> None:
            name = "/".join(part for part in (asked.get("organization"), asked["name"]) if part)
            if name in hub.repos:
                self.send_json({"error": "You already created this model repo", "url": f"{hub.url}/{name}"}, 409)
                return
            hub.repos[name] = {}
            hub.private |= {name} if asked.get("private") or asked.get("visibility") == "private" else set()
            self.send_json({"url": f"{hub.url}/{name}"})

        def send_file(self, name: str, path: str) -> None:
            body = hub.repos[name].get(path)
            if body is None:
                self.send(b"", 404, **{"X-Error-Code": "EntryNotFound"})
            else:
                known = {"X-Repo-Commit": hub.revision(name), "ETag": f'"{hashlib.sha1(body).hexdigest()}"'}
                self.send(body, **known)

        def read_body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def send_json(self, body: Any, status: int = 200) -> None:
            self.send(json.dumps(body).encode(), status, **{"Content-Type": "application/json"})

        def send(self, body: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    with serve_on_loopback(Handler) as hub.port:
        yield hub
