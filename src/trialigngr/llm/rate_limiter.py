"""`RateLimiter`: when the next call may go out, by what a server says in its headers."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

MAX_SERVER_WAIT = 600.0
"""Most seconds that a server's wish for a pause is granted."""
WAKE_UP_JITTER = 0.25
"""Those who waited go on one by one, over this part of the pause: all at once, most would be refused again."""
LONGEST = 100
"""Letters of a header that are read."""
_LIMIT_SUFFIXES = ("", "-requests", "-tokens")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_EPOCH = 1e9
"""A reset that is larger is a moment, in seconds since 1970, and no number of seconds to wait."""


class RateLimiter:
    """One for all calls to a server, on its event loop."""

    def __init__(self) -> None:
        self._paused_until, self._jitter = 0.0, 0.0

    def pause_for(self, seconds: float) -> None:
        """Let no call go out for so many seconds."""
        until = time.monotonic() + min(seconds, MAX_SERVER_WAIT)
        if until > self._paused_until:
            self._paused_until, self._jitter = until, WAKE_UP_JITTER * min(seconds, MAX_SERVER_WAIT)

    def observe_headers(self, headers: Mapping[str, str]) -> None:
        """Pause when the server says that nothing is left of a limit, for as long as it says."""
        for limit in _LIMIT_SUFFIXES:
            if headers.get(f"x-ratelimit-remaining{limit}", "").strip() == "0":
                self.pause_for(_parse_reset(headers, limit) or 0.0)

    async def acquire(self) -> None:
        """Return when a call may go out."""
        while (left := self._paused_until - time.monotonic()) > 0:
            await asyncio.sleep(left + random.uniform(0, self._jitter))


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a refusal asks to wait for: ``retry-after-ms``, ``retry-after``, or a limit's reset."""
    if (milliseconds := parse_duration(headers.get("retry-after-ms", "") + "ms")) is not None:
        return milliseconds
    after = headers.get("retry-after", "")[: LONGEST + 1]
    if (seconds := parse_duration(after)) is not None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    except (TypeError, ValueError, IndexError, OverflowError, OSError):
        pass  # no date, or one that no clock knows
    return max((one for limit in _LIMIT_SUFFIXES if (one := _parse_reset(headers, limit)) is not None), default=None)


def _parse_reset(headers: Mapping[str, str], limit: str) -> float | None:
    seconds = parse_duration(headers.get(f"x-ratelimit-reset{limit}", ""))
    return max(0.0, seconds - time.time()) if seconds is not None and seconds > _EPOCH else seconds


def parse_duration(text: str) -> float | None:
    """Return the seconds of ``3``, ``1.5``, ``20ms``, ``6m0s``; None for anything else."""
    text = text.strip()
    if len(text) > LONGEST:
        return None
    parts = _DURATION_PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None
