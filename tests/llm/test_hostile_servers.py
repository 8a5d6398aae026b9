"""Servers that mean ill: odd numbers, half letters, our key in their words, other addresses, answers without end."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from benchmarks.servers.mining import make_calls, mine
from tests.support.hostile_server import GOOD, Hostile, completion, listening
from trialigngr.enrich.interests import load_interests
from trialigngr.foundation.errors import RecipeError
from trialigngr.llm.api_keys import allow_key_variables, without_key
from trialigngr.llm.generator import GeneratorError
from trialigngr.llm.rate_limiter import parse_duration, parse_retry_after

KEY = "sk-Proj_9a/Zq+Lm=71"


def asked(told: Hostile, folder: Path, **how: Any) -> dict[str, Any]:
    with listening(told):
        calls = make_calls(told.url, **{"max_attempts": 1, "initial_backoff": 0.01, "timeout": 10} | how)
        return mine(folder, 1, calls)


@pytest.mark.parametrize(
    ("given", "counted"),
    [
        (10**30, 0), (-5, 0), (2**63, 0), (7.0, 7), (7.5, 0), (1e300, 0), ("9", 0), (None, 0), ([1], 0), ({}, 0),
        (True, 1), (12, 12),
    ],
)  # fmt: skip
def test_a_count_that_can_be_none_counts_nothing(tmp_path: Path, given: object, counted: int) -> None:
    usage = {"prompt_tokens": given, "completion_tokens": given}
    facts = asked(Hostile(completion(usage=usage)), tmp_path)
    assert (facts["prompt_tokens"], facts["completion_tokens"]) == (counted, counted)
    assert load_interests(tmp_path)[0].lifestyle == "slow mornings"


@pytest.mark.parametrize("raw", [b"[" * 100_000, b"1" * 10_000, b'{"choices":' * 50_000, b"\xff\xfe\0", b"NaN", b""])
def test_what_is_no_json_is_a_failed_item(tmp_path: Path, raw: bytes) -> None:
    assert list(asked(Hostile(raw), tmp_path)["failed_items"].values()) == [1]


def test_half_letters_become_marks(tmp_path: Path) -> None:
    half = json.dumps(GOOD).replace("hiker", "hiker \\ud83d of hills")
    facts = asked(Hostile(completion(half)), tmp_path / "within")
    assert facts["failed_items"] == {"the answer is not one JSON object": 1}
    # A lone half in the answer itself, not within the JSON that it holds.
    facts = asked(Hostile(completion("so \ud83d it is")), tmp_path / "alone")
    assert facts["failed_items"] == {"the answer is not one JSON object": 1}
    facts = asked(Hostile({"error": {"message": "no \ud83d here"}}, 400), tmp_path / "error")
    assert facts["failed_items"] == {"the server refused the item with status 400: no \ufffd here": 1}
    with pytest.raises(GeneratorError, match="it has a\ufffdb"):
        asked(Hostile(models={"data": [{"id": "a\ud83db"}]}), tmp_path / "models")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_nobody_follows_a_server_elsewhere(tmp_path: Path, status: int) -> None:
    with listening(Hostile(completion())) as other:
        told = Hostile(b"", status, {"Location": f"{other.url}/chat/completions"})
        with pytest.raises(GeneratorError, match=rf"sends calls on to another address \(status {status}\)"):
            asked(told, tmp_path)
    assert other.asked == []


@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_answer_without_end_is_not_read_to_it(tmp_path: Path, status: int) -> None:
    facts = asked(Hostile(b'{"error": "', status, endless=True), tmp_path)
    assert [*facts["failed_items"].values()] == [1]


@pytest.mark.parametrize("status", [200, 400])
def test_nothing_is_unpacked(tmp_path: Path, status: int) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    facts = asked(Hostile(bomb, status, {"Content-Encoding": "gzip"}), tmp_path)
    assert [*facts["failed_items"].values()] == [1]


@pytest.mark.parametrize("message", [{"deep": [[[]]]}, 7, None, "", "x" * 1_000_000])
def test_odd_words_of_an_error_are_one_short_problem(tmp_path: Path, message: object) -> None:
    (problem,) = asked(Hostile({"error": {"message": message}}, 422), tmp_path)["failed_items"]
    assert problem.startswith("the server refused the item with status 422")
    assert len(problem) < 300


def test_odd_headers_are_read_in_no_time() -> None:
    assert parse_duration("9" * 90_000) is None
    assert parse_retry_after({"retry-after": "9" * 90_000}) is None
    assert parse_retry_after({"retry-after": "Mon, 01 Jan 0001 00:00:00 -0000"}) in (None, 0.0)


FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper": str.upper,
    "swapped": str.swapcase,
    "backwards": lambda key: key[::-1],
    "url": lambda key: quote(key, safe=""),
    "all of it as in a url": lambda key: "".join(f"%{ord(one):02x}" for one in key),
    "html": lambda key: "".join(f"&#{ord(one)};" for one in key),
    "json": lambda key: "".join(f"\\u{ord(one):04x}" for one in key),
    "hex": lambda key: key.encode().hex().upper(),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 of a header": lambda key: base64.b64encode(f"Bearer {key}\n".encode()).decode(),
    "base64 in a url": lambda key: base64.urlsafe_b64encode(f"x:{key}!".encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_key_that_is_repeated_is_kept_nowhere(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_API_KEY", KEY)
    told = FORMS[form](KEY)
    # Within JSON within JSON, as a tag; where that makes another letter of it, the letter counts.
    text = '{"interests": [{"tag": "for %s", "confidence": "high"}, {"tag": "weekend hiker", "confidence": "high"},'
    text += ' {"tag": "home barista", "confidence": "high"}], "lifestyle": "slow mornings"}'
    asked(Hostile(completion(text % told)), tmp_path / "answer", api_key_env="SHOP_API_KEY")
    facts = asked(Hostile({"error": {"message": f"not {told}"}}, 400), tmp_path / "error", api_key_env="SHOP_API_KEY")
    assert facts["failed_items"] == {
        f"the server refused the item with status 400: {without_key(f'not {told}', KEY)}": 1
    }
    assert told not in without_key(f"not {told}", KEY)
    forms = {make(KEY) for make in FORMS.values()}
    for folder in (tmp_path / "answer", tmp_path / "error"):
        with closing(sqlite3.connect(folder / "responses.sqlite")) as base:
            kept = str(base.execute("SELECT * FROM responses").fetchall()) + str(load_interests(folder))
        assert not [one for one in forms if one in kept]
        assert all(one.encode() not in path.read_bytes() for path in folder.iterdir() for one in forms)


def test_words_that_hold_no_key_stay() -> None:
    words = "100% cotton & more: sk-Proj was not here, nothing is none \\u00e9"
    assert without_key(words, KEY) == words
    assert without_key(words, "") == words
    assert without_key("nothing is none", "none") == "nothing is …"


def test_only_a_variable_for_keys_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME_SECRET", KEY)
    told = Hostile(completion())
    with pytest.raises(RecipeError, match=r"HOME_SECRET is not read.* say --allow-key-variable HOME_SECRET\."):
        asked(told, tmp_path, api_key_env="HOME_SECRET")
    assert told.asked == []
    monkeypatch.setattr("trialigngr.llm.api_keys._allowed", set())
    allow_key_variables("HOME_SECRET")
    asked(told, tmp_path, api_key_env="HOME_SECRET")
    assert {headers["authorization"] for _, headers in told.asked} == {f"Bearer {KEY}"}


def test_nothing_but_the_key_is_told_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "tell-nobody")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Own: tell-nobody\nAuthorization: tell-nobody")
    told = Hostile(completion())
    asked(told, tmp_path)
    assert len(told.asked) == 2
    assert "tell-nobody" not in str(told.asked)
