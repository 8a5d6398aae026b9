"""Fetch a picture that nobody vouches for: from allowed hosts, in bounded time, in bounded bytes, never unpacked."""

from __future__ import annotations

import http.client
import io
import random
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.message import Message
from functools import cache
from threading import Event
from typing import Any, cast
from urllib.parse import urljoin

from trialigngr.foundation.errors import ImageError
from trialigngr.images.image_open import HOST_NOT_ALLOWED
from trialigngr.images.settings import DownloadSettings, ImageSettings
from trialigngr.images.url_policy import MAX_SHOWN_CHARACTERS, ParsedUrl, is_allowed_host, parse_url, resolve_addresses

MAX_REDIRECTS = 4
REDIRECT_STATUSES = (301, 302, 303, 307, 308)
MAX_BACKOFF = 60.0
READ_BYTES = 1 << 16


class HostNotAllowedError(ImageError):
    """A picture on a ``host`` that no setting names, or that leads to one."""

    def __init__(self, url: ParsedUrl) -> None:
        self.host = url.host if url.has_default_port else f"{url.host}:{url.port}"
        super().__init__(f"{self.host} is not among catalog.images.allowed_hosts.", HOST_NOT_ALLOWED)


class UnreachableError(ImageError):
    """A picture that may be there another time. ``retry_after``: seconds that the server asks for."""

    def __init__(self, message: str, reason: str, retry_after: float | None = None) -> None:
        super().__init__(message, reason)
        self.retry_after = retry_after


class ImageDownloader:
    """Fetches pictures, from any number of threads, until it is stopped."""

    def __init__(self, image_settings: ImageSettings, download_settings: DownloadSettings) -> None:
        self._image_settings, self._download_settings, self._stop_event = image_settings, download_settings, Event()

    def cancel_retries(self) -> None:
        """Let nobody wait for another try."""
        self._stop_event.set()

    def parse_allowed_url(self, url: str) -> ParsedUrl:
        """Return the place of a URL; raise `ImageError` when the settings do not name its host."""
        place = parse_url(url)
        if not is_allowed_host(
            place, (*self._image_settings.allowed_hosts, *self._image_settings.allowed_private_hosts)
        ):
            raise HostNotAllowedError(place)
        return place

    def download_bytes(self, url: str) -> bytes:
        """Return what stands at a URL; raise `ImageError`, or `UnreachableError` when no try came through."""
        for attempt in range(self._download_settings.max_attempts):
            try:
                return self._follow_redirects(url, time.monotonic() + self._download_settings.timeout)
            except UnreachableError as error:
                if attempt + 1 == self._download_settings.max_attempts or self._stop_event.is_set():
                    raise
                wait = (
                    random.uniform(0, self._download_settings.initial_backoff * 2**attempt)
                    if error.retry_after is None
                    else error.retry_after
                )
                self._stop_event.wait(min(wait, MAX_BACKOFF))
        raise AssertionError("there is at least one try")

    def _follow_redirects(self, url: str, deadline: float) -> bytes:
        """Return the body at the end of at most `MAX_REDIRECTS` redirects, each of which is checked like the first."""
        for _ in range(MAX_REDIRECTS + 1):
            place = self.parse_allowed_url(url)
            private = is_allowed_host(place, self._image_settings.allowed_private_hosts)
            with _translate_faults(url), _open_response(place, private, deadline) as response:
                if response.status not in REDIRECT_STATUSES:
                    return _read_body(url, response, self._image_settings.max_bytes)
                url = urljoin(url, response.headers.get("Location", ""))
        raise ImageError(f"{url[:MAX_SHOWN_CHARACTERS]} leads on and on.", "too many redirects")


@contextmanager
def _translate_faults(url: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise UnreachableError(f"{url[:MAX_SHOWN_CHARACTERS]} took too long.", "too slow") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UnreachableError(f"{url[:MAX_SHOWN_CHARACTERS]}: {type(error).__name__}.", "connection failed") from None


@contextmanager
def _open_response(url: ParsedUrl, allow_private: bool, deadline: float) -> Iterator[http.client.HTTPResponse]:
    """Give the answer of the very address that was checked, whatever the name may mean a moment later."""
    with closing(_connect_socket(url, resolve_addresses(url, allow_private), deadline)) as wire:
        connection = http.client.HTTPConnection(url.host, url.port)
        if url.has_default_port:
            connection.default_port = url.port  # so that the Host header names no port
        connection.sock = cast(Any, _DeadlineSocket(wire, deadline))
        headers = {"User-Agent": "trialigngr", "Accept": "image/*", "Accept-Encoding": "identity",
                   "Connection": "close"}  # fmt: skip
        connection.request("GET", url.path, headers=headers)
        with closing(connection.getresponse()) as response:
            yield response


def _connect_socket(url: ParsedUrl, addresses: list[str], deadline: float) -> socket.socket:
    problem: OSError = OSError("the name stands for no address")
    for address in addresses:
        try:
            wire = socket.create_connection((address, url.port), timeout=_remaining_seconds(deadline))
        except OSError as error:
            problem = error
            continue
        try:
            wire.settimeout(_remaining_seconds(deadline))
            return wire if url.scheme == "http" else _make_tls_context().wrap_socket(wire, server_hostname=url.host)
        except BaseException:
            wire.close()
            raise
    raise problem


@cache
def _make_tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()


def _remaining_seconds(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _DeadlineSocket(io.RawIOBase):
    """What `http.client` takes for a socket: each read and write may last until one deadline that they all share."""

    def __init__(self, wire: socket.socket, deadline: float) -> None:
        super().__init__()
        self._socket, self._deadline = wire, deadline

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(_remaining_seconds(self._deadline))
        self._socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineSocket(self._socket, self._deadline))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(_remaining_seconds(self._deadline))
        return self._socket.recv_into(buffer)


def _read_body(url: str, response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    """Return the body of a good answer, whole and no longer than ``max_bytes``."""
    _check_status(url, response.status, response.headers)
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise ImageError(f"{url[:MAX_SHOWN_CHARACTERS]} comes compressed although nobody asked for that.", "compressed")
    too_long = ImageError(f"{url[:MAX_SHOWN_CHARACTERS]} has more than {max_bytes:,} bytes.", "too many bytes")
    announced_bytes = response.length
    if announced_bytes is not None and announced_bytes > max_bytes:
        raise too_long
    parts, size = [], 0
    while part := response.read(READ_BYTES):
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            raise too_long
    if announced_bytes is not None and size < announced_bytes:
        raise UnreachableError(
            f"{url[:MAX_SHOWN_CHARACTERS]} broke off after {size:,} of {announced_bytes:,} bytes.", "connection failed"
        )
    return b"".join(parts)


def _check_status(url: str, status: int, headers: Message) -> None:
    if status == 200:
        return
    if status in (408, 429) or status >= 500:
        raise UnreachableError(
            f"{url[:MAX_SHOWN_CHARACTERS]}: status {status}.", "server error", _parse_retry_after(headers)
        )
    reason = "not found" if status in (404, 410) else "refused"
    raise ImageError(f"{url[:MAX_SHOWN_CHARACTERS]}: status {status}.", reason)


def _parse_retry_after(headers: Message) -> float | None:
    """Return the seconds of ``retry-after``; a date there is not read."""
    asked = headers.get("Retry-After", "").strip()
    return float(asked) if asked.isdecimal() and len(asked) < 6 else None
