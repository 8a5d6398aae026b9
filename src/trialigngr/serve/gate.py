"""`RequestGate`: id, host, key, type and size of every request, before any route; headers of answers."""

from __future__ import annotations

import re
from time import monotonic
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trialigngr.serve.errors import ServiceError
from trialigngr.serve.limits import LIMITS
from trialigngr.serve.responses import respond_to_error
from trialigngr.serve.service import Service

OPEN_PATHS = {"/health/live", "/health/ready"}
"""Paths for which no key is needed."""
API_PATHS = re.compile(r"/(v1|health|metrics|openapi\.json)(/|$)")
QUEUED_PATHS = frozenset(
    f"/v1/{name}" for name in ("recommendations", "recommendations/batch", "rank", "explain", "chat/completions")
)
"""What waits in a queue: where all are full it is refused before it is read, or refusals would hold up live answers."""
BROWSER_LOGIN = {"WWW-Authenticate": 'Basic realm="TriAlignGR", charset="UTF-8"'}
"""On pages a browser asks its user for the key, as a password."""
ADMIN_PATHS = re.compile(r"/v1/(catalogue|admin)(/|$)")
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""What one person is recommended is nobody else's: nothing is stored on the way."""


class RequestGate:
    """Refuses before a route is looked for; ``names`` are the hosts that a request may name, None for any."""

    def __init__(self, app: ASGIApp, service: Service, names: frozenset[str] | None) -> None:
        self.app, self.service, self.names = app, service, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, begun, status, is_answered = Headers(scope=scope), monotonic(), 500, False
        shown = headers.get("x-request-id", "")
        request_id = shown if _REQUEST_ID.fullmatch(shown) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            nonlocal status, is_answered
            if message["type"] == "http.response.start":
                status = message["status"]
                own = MutableHeaders(scope=message)
                own["X-Request-ID"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    own.setdefault(name, value)
            await send(message)
            is_answered = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            self._check_headers(scope["path"], headers)
            if scope["path"] in QUEUED_PATHS and self.service.is_full:
                raise ServiceError("overloaded", "As many requests wait as may; try again later.")
            body = await _read_body(scope, headers, receive)
            await self.app(scope, _replay_body(body, receive), send_with_headers)
        except ServiceError as error:
            asked = {} if API_PATHS.match(scope["path"]) else BROWSER_LOGIN
            answer = respond_to_error(error, request_id, asked if error.code == "unauthorized" else None)
            await answer(scope, receive, send_with_headers)
        except Exception:
            if not is_answered:  # else the log has it, without what was asked
                raise
        finally:
            path: str = scope["path"]
            route: str = getattr(scope.get("route"), "path", path if path in QUEUED_PATHS else "unmatched")
            method = scope["method"] if scope["method"] in {"GET", "HEAD", "POST"} else "other"
            self.service.metrics.count_request(route, method, status, monotonic() - begun)

    def _check_headers(self, path: str, headers: Headers) -> None:
        """Raise `ServiceError` for a request that names another host, that a page of another site makes, as by an image
        of its own, or that shows no key that suffices."""
        host = re.sub(r":\d*$", "", headers.get("host", "")).strip("[]")
        if self.names is not None and host not in self.names:  # a page elsewhere whose name leads here
            raise ServiceError("invalid_host", "This server answers to the loopback's names alone.")
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            raise ServiceError("cross_site", "Pages of other sites may lead here, and may not ask.")
        shown, keys = headers.get("authorization"), self.service.keys
        if path in OPEN_PATHS:
            return
        if not keys.is_client(shown):
            raise ServiceError("unauthorized", "Show a key: Authorization: Bearer KEY.")
        if ADMIN_PATHS.match(path) and not keys.is_admin(shown):
            raise ServiceError("forbidden", "This needs an admin key, with which the server must have been started.")


async def _read_body(scope: Scope, headers: Headers, receive: Receive) -> bytes:
    """Return the body; raise `ServiceError` for one that is too large, or no JSON by its type."""
    if scope["method"] in {"GET", "HEAD", "OPTIONS"}:
        return b""
    too_large = ServiceError("body_too_large", f"The body has more than {LIMITS.body_bytes:,} bytes.")
    declared = headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > LIMITS.body_bytes:
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > LIMITS.body_bytes:
            raise too_large
        if not message.get("more_body", False):
            break
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind != "application/json":
        raise ServiceError("unsupported_media_type", "Send JSON, with Content-Type: application/json.")
    return bytes(body)


def _replay_body(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read already, and then what comes."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
