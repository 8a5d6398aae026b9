"""Lists that were written as text: by Python, JSON, pandas or numpy, into a cell of a table."""

from __future__ import annotations

import ast
import json
import re

from trialigngr.foundation.strict_json import mend_escapes

_TEXT = r"""(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')"""
_PART = rf"(?:{_TEXT}|None|null|nan)"
OPENS = r"^\s*[\[({]"
"""How text begins that may be a list."""
_LIST = re.compile(rf"\s*[\[({{]\s*+(?:{_PART}(?:\s*+,\s*+|\s++|(?=[\])}}])))*+[\])}}]\s*", re.DOTALL)
_PARTS = re.compile(_TEXT, re.DOTALL)


def read_list(text: str) -> list[str] | None:
    """Return the texts of a list such as ``['a', "b"]``, ``["a", null]`` or numpy's ``['a' 'b']``; None for other text.

    What is read must be a list of texts as a whole: ``[Blu-ray]`` and ``[1, 2]`` are no lists.
    """
    if not _LIST.fullmatch(text):
        return None
    return [_parse_literal(part) for part in _PARTS.findall(text)]


def _parse_literal(quoted: str) -> str:
    try:
        if quoted[0] == '"':
            return str(json.loads(mend_escapes(quoted), strict=False))
        return str(ast.literal_eval(quoted.replace("\n", "\\n").replace("\r", "\\r")))
    except (ValueError, SyntaxError):
        return quoted[1:-1]
