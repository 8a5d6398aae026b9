r"""Text of strangers for a terminal: what would command it, or turn a line about, stands there as ``\u001b``.

The escapes are those of JSON, so JSON that was made visible says the same as before.
"""

from __future__ import annotations

import re
from typing import Any, TextIO

COMMANDS = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff"
"""Control characters but tab and line feed, other ends of lines, what turns text about, halves of letters."""
_WITHIN_LINES, _ON_ONE_LINE = re.compile(f"[{COMMANDS}]"), re.compile(f"[{COMMANDS}\n]")


def escape_controls(text: str) -> str:
    """Return the text on one line, commands as escapes."""
    return _ON_ONE_LINE.sub(_escape_match, text)


def escape_controls_in_lines(text: str) -> str:
    """Return the text, commands within its lines as escapes."""
    return _WITHIN_LINES.sub(_escape_match, text)


def _escape_match(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


class VisibleText:
    """A text stream on which all that is written is visible; in all else the stream itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text and return its length."""
        self._stream.write(escape_controls_in_lines(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
