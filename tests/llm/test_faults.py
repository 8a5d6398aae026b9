"""What a server may do wrong, and what is made of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.servers.chat import FAULTS, MODEL, Script, chat_server, stats
from benchmarks.servers.mining import SETTINGS, make_calls, mine, right
from trialigngr.enrich.interests import load_interests
from trialigngr.llm.generator import GenerationRequest, GeneratorError
from trialigngr.llm.openai_generator import OpenAIGenerator
from trialigngr.llm.rate_limiter import RateLimiter, parse_duration, parse_retry_after
from trialigngr.llm.settings import ServerSettings


@pytest.fixture(scope="module")
def sound() -> Iterator[str]:
    with chat_server(Script(delay=0.001)) as url:
        yield url


def test_each_fault_is_passed_by_a_second_call(tmp_path: Path) -> None:
    items = 3 * len(FAULTS)
    with chat_server(Script(in_turn=True, hang=6.0)) as url:
        mine(tmp_path, items, make_calls(url, timeout=3, initial_backoff=0.01))
        calls = stats(url)["calls"]
    assert right(tmp_path, items)
    wanted = {f"item {n}": 1 if FAULTS[n % len(FAULTS)] in ("twice", "late") else 2 for n in range(items)}
    assert calls == wanted


def test_an_item_that_fails_is_counted_and_tried_again_in_later_runs_by_rule(tmp_path: Path) -> None:
    with chat_server(Script(share=1.0, faults=["500"])) as url:
        calls = make_calls(url, max_attempts=1, max_runs=2)
        assert mine(tmp_path, 3, calls)["failed_items"] == {"the server answered with status 500": 3}
        assert [one.tags for one in load_interests(tmp_path)] == [(), (), ()]
        mine(tmp_path, 3, calls)
        mine(tmp_path, 3, calls)
        assert stats(url)["calls"] == {f"item {n}": 2 for n in range(3)}


def test_a_server_that_says_when_to_come_back_loses_no_item(tmp_path: Path) -> None:
    with chat_server(Script(window=0.5, allowed=8)) as url:
        facts = mine(tmp_path, 100, make_calls(url, max_concurrency=64, max_attempts=1))
        counted = stats(url)
    assert right(tmp_path, 100)
    assert facts["calls"] == sum(counted["calls"].values()) == 100 + counted["refused"]
    assert counted["refused"] >= 56  # the first 64 came together


@pytest.mark.parametrize("limit", [None, "", "-requests", "-tokens"])
def test_no_call_goes_out_before_the_time_that_is_named(tmp_path: Path, limit: str | None) -> None:
    """By a refusal, and by the answer that uses up a limit, after which none is refused."""
    with chat_server(Script(window=0.4, allowed=3, limit=limit)) as url:
        mine(tmp_path, 10, make_calls(url, max_concurrency=1, max_attempts=1))
        counted = stats(url)
    assert right(tmp_path, 10)
    assert counted["early"] == 0
    assert counted["refused"] == (3 if limit is None else 0)


def test_those_who_waited_go_on_one_by_one() -> None:
    async def all_of_them() -> list[float]:
        pace, began = RateLimiter(), time.monotonic()
        pace.pause_for(0.4)

        async def one() -> float:
            await pace.acquire()
            return time.monotonic() - began

        return sorted(await asyncio.gather(*(one() for _ in range(100))))

    went = asyncio.run(all_of_them())
    assert went[0] >= 0.4
    assert went[75] - went[25] > 0.02  # half of them over half of a quarter of the pause, about


def test_a_server_that_never_lets_in_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trialigngr.llm.openai_generator.MAX_SERVER_WAIT", 0.3)
    with chat_server(Script(window=60, allowed=0)) as url:
        calls = make_calls(url, max_concurrency=1, max_attempts=2, initial_backoff=0.01)
        monkeypatch.setattr("trialigngr.llm.rate_limiter.MAX_SERVER_WAIT", 0.05)
        assert mine(tmp_path, 1, calls)["failed_items"] == {"the server answered with status 429": 1}
        assert stats(url)["calls"] == {"item 0": 3}  # one that was no try, and two that were


def test_what_has_come_is_collected_though_nothing_is_waited_for() -> None:
    with (
        chat_server(Script(delay=0.2)) as url,
        closing(OpenAIGenerator(SETTINGS, ServerSettings(base_url=url))) as served,
    ):
        served.submit(GenerationRequest(7, "", "item 7"))
        assert served.collect(wait=False) == []
        until = time.monotonic() + 10
        while not (came := served.collect(wait=False)) and time.monotonic() < until:
            time.sleep(0.01)
    assert [response.number for response in came] == [7]


def test_a_server_that_refuses_all_is_not_taken_for_items_that_cannot_be_asked(tmp_path: Path) -> None:
    with chat_server(Script(in_turn=True, turns=9, faults=["400"])) as url:
        for _ in range(4):
            with pytest.raises(GeneratorError, match="all failed, at last by: the server refused the item"):
                mine(tmp_path, 40, make_calls(url, max_consecutive_failures=10, max_runs=2))
    with chat_server(Script()) as url:
        mine(tmp_path, 40, make_calls(url, max_runs=2))
    assert right(tmp_path, 40)


def test_few_items_that_were_all_refused_are_asked_again(tmp_path: Path) -> None:
    with chat_server(Script(in_turn=True, turns=9, faults=["400"])) as url:
        mine(tmp_path, 3, make_calls(url, max_concurrency=1))
    with chat_server(Script()) as url:
        mine(tmp_path, 3, make_calls(url))
    assert right(tmp_path, 3)


def test_an_item_that_is_refused_among_others_is_asked_once(tmp_path: Path) -> None:
    with chat_server(Script(in_turn=True, turns=9, faults=["", "400", "", ""])) as url:
        calls = make_calls(url, max_concurrency=1)
        for _ in range(2):
            facts = mine(tmp_path, 4, calls)
        assert list(facts["failed_items"].values()) == [1]
        assert stats(url)["calls"] == {"item 0": 1, "item 1": 2, "item 2": 1, "item 3": 1}
        # Without a schema it was refused as well, so the others are asked with it.
        assert facts["calls"] == 5


def test_what_empty_and_refused_answers_took_is_counted(tmp_path: Path) -> None:
    with chat_server(Script(in_turn=True, faults=["no text", "prose", ""])) as url:
        facts = mine(tmp_path, 3, make_calls(url, initial_backoff=0.01))
    assert right(tmp_path, 3)
    assert (facts["calls"], facts["prompt_tokens"], facts["completion_tokens"]) == (5, 1000, 200)


def test_it_stops_when_nothing_succeeds_any_more(tmp_path: Path) -> None:
    with (
        chat_server(Script(share=1.0, faults=["500"])) as url,
        pytest.raises(
            GeneratorError, match=r"The last \d+ items all failed, at last by: the server answered with status"
        ),
    ):
        mine(tmp_path, 300, make_calls(url, max_attempts=1, max_consecutive_failures=20))


def refused(url: str, tmp_path: Path, **changes: Any) -> str:
    with pytest.raises(GeneratorError) as caught:
        mine(tmp_path, 2, make_calls(url, **changes))
    assert not (tmp_path / "responses.sqlite").exists()
    return str(caught.value)


def test_what_cannot_work_is_said_before_any_item_is_paid(
    sound: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "cannot be reached" in refused("http://127.0.0.1:9/v1", tmp_path)
    assert "must begin with http" in refused("localhost:8000", tmp_path)
    assert "status 404" in refused(sound.removesuffix("/v1"), tmp_path)
    assert "NO_API_KEY holds no key" in refused(sound, tmp_path, api_key_env="NO_API_KEY")
    monkeypatch.setenv("MY_API_KEY", "secret-123")
    with chat_server(Script(key="another")) as url:
        said = refused(url, tmp_path, api_key_env="MY_API_KEY")
        assert "refuses the key in MY_API_KEY (status 401)" in said
        assert "secret" not in said
        assert "set api_key_env" in refused(url, tmp_path)
        monkeypatch.setenv("MY_API_KEY", "another\n")
        mine(tmp_path / "with it", 1, make_calls(url, api_key_env="MY_API_KEY"))
    with chat_server(Script(models='{"data": [{"id": "secret-123"}]}')) as url:
        monkeypatch.setenv("MY_API_KEY", "secret-123")
        assert "it has …." in refused(url, tmp_path, api_key_env="MY_API_KEY")
    with chat_server(Script(models="<html>hello</html>")) as url:
        assert "does not speak OpenAI's protocol: the answer is no JSON" in refused(url, tmp_path)
    monkeypatch.setattr("benchmarks.servers.mining.SETTINGS", SETTINGS.model_copy(update={"model": "tiny-chart"}))
    assert f"Did you mean '{MODEL}'?" in refused(sound, tmp_path)


def test_a_key_stands_nowhere_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "secret-123")
    with chat_server(Script(key="secret-123")) as url:
        facts = mine(tmp_path, 3, make_calls(url, api_key_env="MY_API_KEY"))
        monkeypatch.setenv("MY_API_KEY", "secret\n123")
        assert "holds letters that no key can hold" in refused(url, tmp_path / "odd", api_key_env="MY_API_KEY")
    assert right(tmp_path, 3)
    assert (facts["calls"], facts["prompt_tokens"], facts["completion_tokens"]) == (3, 600, 120)
    assert all(b"secret-123" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_server_without_schemas_is_asked_without(tmp_path: Path) -> None:
    with chat_server(Script(schema=False)) as url:
        mine(tmp_path / "without", 5, make_calls(url))
        assert "response_format" not in stats(url)["bodies"][0]
    with chat_server(Script()) as url:
        mine(tmp_path / "with", 5, make_calls(url))
        schema = stats(url)["bodies"][0]["response_format"]
    assert schema["json_schema"]["strict"] is True
    assert right(tmp_path / "without", 5)
    assert right(tmp_path / "with", 5)


def test_the_wait_that_a_server_asks_for_is_read_from_its_headers() -> None:
    assert parse_duration("6m0s") == 360
    assert parse_duration("20ms") == pytest.approx(0.02)
    assert parse_duration("1.5") == 1.5
    assert parse_duration("soon") is None
    assert parse_retry_after({"retry-after": "7"}) == 7
    assert parse_retry_after({"retry-after-ms": "250"}) == 0.25
    assert parse_retry_after({"retry-after": "Thu, 01 Jan 2026 00:00:00 GMT"}) == 0
    assert parse_retry_after({"x-ratelimit-reset-requests": "2s", "x-ratelimit-reset-tokens": "1m"}) == 60
    assert parse_retry_after({"x-ratelimit-reset": str(time.time() + 30)}) == pytest.approx(30, abs=1)
    assert parse_retry_after({}) is None
