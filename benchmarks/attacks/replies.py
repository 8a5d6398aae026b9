"""What a hostile server answers: forty-eight replies by name."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

KEY = "sk-Ab1/cD2+eF3=gH4-iJ5?kL6"
CAPTION = "A plain lamp of brass with a white shade, seen from the side."


@dataclass(frozen=True)
class Reply:
    """What the server sends; ``at`` the list of its models, or a question (chat). ``slow``: a byte now and then."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    at: str = "chat"
    slow: bool = False
    endless: bool = False


def whole_answer(text: str, **more: Any) -> dict[str, Any]:
    """Return a whole answer that says something: as a caption, or within interests."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 20, "completion_tokens": 10}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage} | more


def say(text: str, interests: bool) -> str:
    """Return a text as a model says it: in a caption, or among interests."""
    if not interests:
        return f"{CAPTION} {text}".strip()
    tags = [{"tag": tag, "confidence": "high"} for tag in (f"lamp collector {text}".strip()[:200], "home barista")]
    return json.dumps({"interests": tags, "lifestyle": f"quiet evenings {text}".strip()})


Say = Callable[[bool], Reply]
"""Whether interests are asked for → what is sent."""


def _with_usage(usage: str) -> Say:
    """Say something whole, and a usage of which only the text is known."""
    return lambda interests: Reply(
        json.dumps(whole_answer(say("", interests), usage="?")).replace('"?"', usage).encode()
    )


def _tokens(number: str) -> str:
    return f'{{"prompt_tokens": {number}, "completion_tokens": {number}}}'


def _text(text: str) -> Say:
    return lambda interests: Reply(json.dumps(whole_answer(say(text, interests))).encode())


def _body(body: bytes, **more: Any) -> Say:
    return lambda interests: Reply(body, **more)


def _bearing(**more: Any) -> Say:
    return lambda interests: Reply(json.dumps(whole_answer(say("", interests)) | more).encode())


def _error(message: str, status: int, **more: Any) -> Say:
    return _body(json.dumps({"error": {"message": message}}).encode(), status=status, **more)


def _models(*names: Any, **more: Any) -> Say:
    return _body(json.dumps({"data": [{"id": name} for name in names]}).encode(), at="models", **more)


HTML = b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>"
AS_HTML = (("content-type", "text/html"),)
DEEP = b"[" * 200_000 + b"]" * 200_000
BASE64 = base64.b64encode(KEY.encode()).decode()
BEARER64 = base64.b64encode(f"Authorization: Bearer {KEY}".encode()).decode()
ESCAPE = "\x1b]0;owned\x07"
"""Gives a terminal another title."""
ELSEWHERE = "{elsewhere}"
"""Stands in a redirect for the address of another server."""


def replies() -> dict[str, Say]:
    """Return the forty-eight answers by name."""
    numbers = ("1e30", "1" + "0" * 30, "1" + "0" * 5000, "-7", "NaN", "Infinity", '"12"', "[1]", "null", "true", "1.5")
    return {
        **{f"usage {number[:6]} ({len(number)})": _with_usage(_tokens(number))
           for number in (*numbers, str(2**63), str(2**64 - 1))},
        "usage is a list": _with_usage("[1, 2]"),
        "usage is a text": _with_usage('"much"'),
        "half an emoji": _text("cut \ud83d"),
        "half an emoji in an error": _error("cut \ud83d", 400),
        "NUL": _text("a\0b"),
        "terminal escapes": _text(f"{ESCAPE} red"),
        "terminal escapes in an error": _error(f"{ESCAPE} red", 400),
        "terminal escapes in a model's name": _models(f"{ESCAPE}model"),
        "half an emoji in a model's name": _models("cut \ud83d"),
        "key": _text(KEY),
        "key in base64": _text(BASE64),
        "header in base64": _text(BEARER64),
        "key in a URL": _text(quote(KEY, safe="")),
        "key in an error": _error(f"no {KEY}", 400),
        "key in base64 in an error": _error(f"no {BASE64}", 422),
        "key in a URL in an error": _error(f"see http://x/?k={quote(KEY, safe='')}", 400),
        "key in a refusal": _error(f"no {KEY}", 401),
        "key in a model's name": _models(KEY, BASE64),
        "redirect to itself": _body(b"", status=307, headers=(("location", "/v1/chat/completions"),)),
        "redirect elsewhere": _body(b"", status=307, headers=(("location", ELSEWHERE),)),
        "redirect of the models": _body(b"", status=302, headers=(("location", ELSEWHERE),), at="models"),
        "endless body": _body(b" ", endless=True),
        "endless list of models": _body(b" ", endless=True, at="models"),
        "a byte now and then": _body(b" ", endless=True, slow=True),
        "no JSON": _body(b'{"choices": [}'),
        "UTF-16": _body(json.dumps(whole_answer(CAPTION)).encode("utf-16")),
        "HTML": _body(HTML, headers=AS_HTML),
        "HTML with 502": _body(HTML, headers=AS_HTML, status=502),
        "HTML as a list of models": _body(HTML, headers=AS_HTML, at="models"),
        "deep nesting": _body(DEEP),
        "deep nesting within": _body(json.dumps(whole_answer("?")).encode().replace(b'"?"', DEEP)),
        "no gzip": _body(b"x" * 100, headers=(("content-encoding", "gzip"),)),
        "gzip of a gigabyte": _body(gzip.compress(b"\0" * 2**24) * 64, headers=(("content-encoding", "gzip"),)),
        "choices of another kind": _bearing(choices={"0": 1}),
        "content of another kind": _bearing(choices=[{"message": {"content": 7}}]),
    }  # fmt: skip
