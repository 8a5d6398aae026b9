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

from pydantic import Field

from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import PictureError
from trialigngr.images.pictures import LONG_SIDE, MAX_BYTES, NOT_ALLOWED
from trialigngr.images.url_policy import SHOWN, Place, addresses_of, is_named, parse

MOST_REDIRECTS = 4
REDIRECTS = (301, 302, 303, 307, 308)
LONGEST_WAIT = 60.0
BLOCK = 1 << 16


class PictureSettings(Settings):
    """Which pictures are used, and how large."""

    hosts: tuple[str, ...] = ()
    """Hosts that pictures may be fetched from: `cdn.shop.com`, `*.shop.com` for all below it, `cdn.shop.com:8443` for
    another port. None: nothing is fetched."""
    private_hosts: tuple[str, ...] = ()
    """Hosts of your own network, which may have addresses that are not open to everybody. Name none that a stranger's
    catalogue should not reach."""
    most_bytes: int = Field(default=MAX_BYTES, ge=1, le=MAX_BYTES)
    """Larger pictures are not fetched."""
    long_side: int = Field(default=LONG_SIDE, ge=28, le=8192)
    """Longer pictures are reduced to this once. gme sees at most 1280 tokens, about 1000 x 1000 pixels; where
    pictures are much longer than wide, 2048 shows it all it can see."""


class FetchSettings(Settings):
    """How pictures are fetched and where they are kept. Nothing here changes a picture."""

    concurrency: int = Field(default=16, ge=1, le=256)
    """Most pictures that are fetched at one time."""
    timeout: float = Field(default=20.0, gt=0)
    """Seconds that one try may take, from the first address to the last byte."""
    tries: int = Field(default=3, ge=1)
    """How often a picture is asked for when the server is busy (429, 5xx) or the connection breaks."""
    first_wait: float = Field(default=1.0, gt=0)
    """Most seconds before the second try; they double with each further one, up to a minute."""
    give_up_after: int = Field(default=100, ge=1)
    """Stop when this many pictures in a row could not be reached: then it is the network, not the pictures."""
    folder: str = ""
    """Folder that keeps pictures by content; runs may share one. Without it, `pictures` in the run."""


class UnnamedHostError(PictureError):
    """A picture on a ``host`` that no setting names, or that leads to one."""

    def __init__(self, place: Place) -> None:
        self.host = place.host if place.at_home else f"{place.host}:{place.port}"
        super().__init__(f"{self.host} is not among catalog.pictures.hosts.", NOT_ALLOWED)


class UnreachableError(PictureError):
    """A picture that may be there another time. ``wait``: seconds that the server asks for."""

    def __init__(self, message: str, reason: str, wait: float | None = None) -> None:
        super().__init__(message, reason)
        self.wait = wait


class Fetcher:
    """Fetches pictures, from any number of threads, until it is stopped."""

    def __init__(self, what: PictureSettings, how: FetchSettings) -> None:
        self._what, self._how, self._stopped = what, how, Event()

    def stop(self) -> None:
        """Let nobody wait for another try."""
        self._stopped.set()

    def permitted(self, url: str) -> Place:
        """Return the place of a URL; raise `PictureError` when the settings do not name its host."""
        place = parse(url)
        if not is_named(place, (*self._what.hosts, *self._what.private_hosts)):
            raise UnnamedHostError(place)
        return place

    def fetch(self, url: str) -> bytes:
        """Return what stands at a URL; raise `PictureError`, or `UnreachableError` when no try came through."""
        for attempt in range(self._how.tries):
            try:
                return self._followed(url, time.monotonic() + self._how.timeout)
            except UnreachableError as error:
                if attempt + 1 == self._how.tries or self._stopped.is_set():
                    raise
                wait = random.uniform(0, self._how.first_wait * 2**attempt) if error.wait is None else error.wait
                self._stopped.wait(min(wait, LONGEST_WAIT))
        raise AssertionError("there is at least one try")

    def _followed(self, url: str, deadline: float) -> bytes:
        """Return the body at the end of at most `MOST_REDIRECTS` redirects, each of which is checked like the first."""
        for _ in range(MOST_REDIRECTS + 1):
            place = self.permitted(url)
            private = is_named(place, self._what.private_hosts)
            with _faults_told(url), _answer(place, private, deadline) as response:
                if response.status not in REDIRECTS:
                    return _body(url, response, self._what.most_bytes)
                url = urljoin(url, response.headers.get("Location", ""))
        raise PictureError(f"{url[:SHOWN]} leads on and on.", "too many redirects")


@contextmanager
def _faults_told(url: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise UnreachableError(f"{url[:SHOWN]} took too long.", "too slow") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UnreachableError(f"{url[:SHOWN]}: {type(error).__name__}.", "connection failed") from None


@contextmanager
def _answer(place: Place, private: bool, deadline: float) -> Iterator[http.client.HTTPResponse]:
    """Give the answer of the very address that was checked, whatever the name may mean a moment later."""
    with closing(_connected(place, addresses_of(place, private), deadline)) as wire:
        connection = http.client.HTTPConnection(place.host, place.port)
        if place.at_home:
            connection.default_port = place.port  # so that the Host header names no port
        connection.sock = cast(Any, _Until(wire, deadline))
        headers = {"User-Agent": "trialigngr", "Accept": "image/*", "Accept-Encoding": "identity",
                   "Connection": "close"}  # fmt: skip
        connection.request("GET", place.path, headers=headers)
        with closing(connection.getresponse()) as response:
            yield response


def _connected(place: Place, addresses: list[str], deadline: float) -> socket.socket:
    problem: OSError = OSError("the name stands for no address")
    for address in addresses:
        try:
            wire = socket.create_connection((address, place.port), timeout=_left(deadline))
        except OSError as error:
            problem = error
            continue
        try:
            wire.settimeout(_left(deadline))
            return wire if place.scheme == "http" else _tls().wrap_socket(wire, server_hostname=place.host)
        except BaseException:
            wire.close()
            raise
    raise problem


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Until(io.RawIOBase):
    """What `http.client` takes for a socket: each read and write may last until one deadline that they all share."""

    def __init__(self, wire: socket.socket, deadline: float) -> None:
        super().__init__()
        self._wire, self._deadline = wire, deadline

    def sendall(self, data: bytes) -> None:
        self._wire.settimeout(_left(self._deadline))
        self._wire.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Until(self._wire, self._deadline))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._wire.settimeout(_left(self._deadline))
        return self._wire.recv_into(buffer)


def _body(url: str, response: http.client.HTTPResponse, most: int) -> bytes:
    """Return the body of a good answer, whole and no longer than ``most``."""
    _check_status(url, response.status, response.headers)
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise PictureError(f"{url[:SHOWN]} comes compressed although nobody asked for that.", "compressed")
    too_long = PictureError(f"{url[:SHOWN]} has more than {most:,} bytes.", "too many bytes")
    told = response.length
    if told is not None and told > most:
        raise too_long
    parts, size = [], 0
    while part := response.read(BLOCK):
        parts.append(part)
        size += len(part)
        if size > most:
            raise too_long
    if told is not None and size < told:
        raise UnreachableError(f"{url[:SHOWN]} broke off after {size:,} of {told:,} bytes.", "connection failed")
    return b"".join(parts)


def _check_status(url: str, status: int, headers: Message) -> None:
    if status == 200:
        return
    if status in (408, 429) or status >= 500:
        raise UnreachableError(f"{url[:SHOWN]}: status {status}.", "server error", _asked_wait(headers))
    reason = "not found" if status in (404, 410) else "refused"
    raise PictureError(f"{url[:SHOWN]}: status {status}.", reason)


def _asked_wait(headers: Message) -> float | None:
    """Return the seconds of ``retry-after``; a date there is not read."""
    asked = headers.get("Retry-After", "").strip()
    return float(asked) if asked.isdecimal() and len(asked) < 6 else None
