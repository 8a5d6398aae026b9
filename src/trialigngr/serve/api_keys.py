"""`KeyRing`: who may ask, and who may change. Keys are compared in constant time and stand in no message."""

from __future__ import annotations

import hmac
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

from trialigngr.foundation.errors import ArgumentError

MIN_KEY_LENGTH = 16
"""Letters of a key."""


class KeyRing:
    """The keys of clients and of admins, as digests. Without client keys everybody may ask; without admin keys nobody
    may change anything."""

    def __init__(self, client_keys: tuple[str, ...] = (), admin_keys: tuple[str, ...] = ()) -> None:
        self._clients, self._admins = [*map(_digest_key, client_keys)], [*map(_digest_key, admin_keys)]

    @property
    def needs_key(self) -> bool:
        """Whether clients must show a key."""
        return bool(self._clients)

    @property
    def has_admins(self) -> bool:
        """Whether anybody may change anything."""
        return bool(self._admins)

    def is_client(self, authorization: str | None) -> bool:
        """Return whether a header's key may ask. Browsers show it as the password of any user."""
        if not self._clients:
            return True
        return _matches(_read_bearer(authorization) or _read_password(authorization), [*self._clients, *self._admins])

    def is_admin(self, authorization: str | None) -> bool:
        """Return whether a header's key may change."""
        return _matches(_read_bearer(authorization), self._admins)


def read_keys(path: Path | None) -> tuple[str, ...]:
    """Return the keys of a file, one a line, blank lines and those that begin with ``#`` left out; none without a file.

    Raises `ArgumentError` for a file that is not there, holds no key, a short one, or one that is not ASCII.
    """
    if path is None:
        return ()
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        raise ArgumentError(f"The key file {path} cannot be read; give a text file with a key a line.") from None
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys or min(map(len, keys)) < MIN_KEY_LENGTH:
        raise ArgumentError(f"The key file {path} needs keys of at least {MIN_KEY_LENGTH} letters, one a line.")
    if not all(map(str.isascii, keys)):
        raise ArgumentError(f"The key file {path} holds letters other than ASCII, which headers do not carry.")
    return keys


def _digest_key(key: str) -> bytes:
    return sha256(key.encode()).digest()


def _read_bearer(authorization: str | None) -> str:
    scheme, _, key = (authorization or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _read_password(authorization: str | None) -> str:
    scheme, _, pair = (authorization or "").partition(" ")
    try:
        return b64decode(pair, validate=True).decode().partition(":")[2] if scheme.lower() == "basic" else ""
    except ValueError:
        return ""


def _matches(key: str, digests: list[bytes]) -> bool:
    shown = _digest_key(key)
    found = [hmac.compare_digest(shown, digest) for digest in digests]  # all, so that time tells nothing
    return any(found)
