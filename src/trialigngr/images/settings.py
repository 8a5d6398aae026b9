"""The settings of pictures."""

from __future__ import annotations

from pydantic import Field

from trialigngr.foundation.config import Settings

MAX_BYTES = 32 * 1024 * 1024
"""A larger file is no picture, wherever it comes from."""
LONGEST_EDGE = 1024
"""Larger pictures are reduced to this unless a setting says otherwise: about what the largest model here sees."""


class ImageSettings(Settings):
    """Which pictures are used, and how large."""

    allowed_hosts: tuple[str, ...] = ()
    """Hosts that pictures may be fetched from: `cdn.shop.com`, `*.shop.com` for all below it, `cdn.shop.com:8443` for
    another port. None: nothing is fetched."""
    allowed_private_hosts: tuple[str, ...] = ()
    """Hosts of your own network, which may have addresses that are not open to everybody. Name none that a stranger's
    catalogue should not reach."""
    max_bytes: int = Field(default=MAX_BYTES, ge=1, le=MAX_BYTES)
    """Larger pictures are not fetched."""
    longest_edge: int = Field(default=LONGEST_EDGE, ge=28, le=8192)
    """Longer pictures are reduced to this once. gme sees at most 1280 tokens, about 1000 x 1000 pixels; where
    pictures are much longer than wide, 2048 shows it all it can see."""


class DownloadSettings(Settings):
    """How pictures are fetched and where they are kept. Nothing here changes a picture."""

    max_concurrency: int = Field(default=16, ge=1, le=256)
    """Most pictures that are fetched at one time."""
    timeout: float = Field(default=20.0, gt=0)
    """Seconds that one try may take, from the first address to the last byte."""
    max_attempts: int = Field(default=3, ge=1)
    """How often a picture is asked for when the server is busy (429, 5xx) or the connection breaks."""
    initial_backoff: float = Field(default=1.0, gt=0)
    """Most seconds before the second try; they double with each further one, up to a minute."""
    max_consecutive_failures: int = Field(default=100, ge=1)
    """Stop when this many pictures in a row could not be reached: then it is the network, not the pictures."""
    store_folder: str = ""
    """Folder that keeps pictures by content; runs may share one. Without it, `images` in the run."""
