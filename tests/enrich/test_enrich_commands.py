from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from benchmarks.servers.chat import MODEL, Script, chat_server, stats
from tests.conftest import Done

Cli = Callable[..., Done]
ITEMS = 30


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    items = {"item_id": [f"i{n}" for n in range(ITEMS)], "title": [f"item {n}" for n in range(ITEMS)]}
    pl.DataFrame(items).write_parquet(folder / "items.parquet")
    taken = [(user, (user + step) % ITEMS, step) for user in range(40) for step in range(8)]
    log = {"user_id": [f"u{u}" for u, _, _ in taken], "item_id": [f"i{i}" for _, i, _ in taken]}
    pl.DataFrame(log | {"position": [place for _, _, place in taken]}).write_parquet(folder / "interactions.parquet")
    return folder


def words(url: str, data: Path, out: Path, **changes: object) -> list[str]:
    chosen = {"interests.generator": "openai", "interests.model": MODEL, "calls.interests.url": url,
              "calls.interests.first_wait": 0.01} | changes  # fmt: skip
    sets = [word for name, value in chosen.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    return ["trialigngr-demo", "--data", str(data), "--out", str(out), *sets]


PRICES = {"calls.interests.price_in": 1.0, "calls.interests.price_out": 10.0}


def test_a_run_that_costs_money_is_told_and_asked_about_before_it_pays(cli: Cli, data: Path, tmp_path: Path) -> None:
    with chat_server(Script()) as url:
        run = words(url, data, tmp_path / "run", **PRICES)
        done = cli("plan", *run)
        assert "interests: what they cost is told when the catalogue stands" in done.out
        done = cli("run", *run, "--until", "interests")
        assert done.code == 2
        assert f"{ITEMS} of {ITEMS} to do by openai:{MODEL}: at most" in done.err
        assert "say --yes to go on" in done.err
        assert stats(url)["calls"] == {}
        done = cli("run", *run, "--until", "interests", "--yes")
        assert done.code == 0, done.err
        assert sum(stats(url)["calls"].values()) == ITEMS
        # All is paid for: nothing is asked about, and nothing is to do.
        assert cli("run", *run, "--until", "interests").code == 0
        done = cli("plan", *run)
    assert f"0 of {ITEMS} to do" in done.out


def test_a_price_worked_by_hand(cli: Cli, data: Path, tmp_path: Path) -> None:
    with chat_server(Script()) as url:
        run = words(url, data, tmp_path / "run", **PRICES)
        assert cli("run", *run, "--until", "interests", "--yes").code == 0
        table = pl.read_parquet(data / "items.parquet")
        changed = pl.when(pl.col("item_id").is_in(["i3", "i4"])).then(pl.col("title") + " x").otherwise("title")
        table.with_columns(changed.alias("title")).write_parquet(data / "items.parquet")
        done = cli("run", *run, "--until", "catalog")
        assert done.code == 0, done.err
        done = cli("plan", *run)
        # Two items at the measured 200 tokens in and 40 out: 2 × (200 × 1 + 40 × 10) / 1,000,000 = 0.0012.
        assert f"2 of {ITEMS} to do by openai:{MODEL}: about 400 tokens in and 80 out, money 0.00," in done.out
        done = cli("plan", *run, "--set", "calls.interests.price_out=1000000")
    assert "money 80.00," in done.out


def test_status_and_show_tell_what_failed(cli: Cli, data: Path, tmp_path: Path) -> None:
    faults = ["500" if n == 7 else "" for n in range(ITEMS)]
    with chat_server(Script(in_turn=True, faults=faults)) as url:
        run = words(url, data, tmp_path / "run", **{"calls.interests.tries": 1})
        done = cli("run", *run, "--until", "interests")
        assert done.code == 0, done.err
    done = cli("enrich", "status", tmp_path / "run")
    assert done.code == 0, done.err
    assert f"interests by openai:{MODEL}: 29 done, 1 failed (1 of them to be tried again), 0 to do" in done.out
    assert "1 × the server answered with status 500: i7 (tried in 1 runs, 1 calls)" in done.out
    done = cli("enrich", "show", tmp_path / "run", "i7", "i8")
    assert "interests  none: the server answered with status 500" in done.out
    assert f"item 8 collector (high); item 8 restorer (high) [openai:{MODEL}]" in done.out
    assert cli("enrich", "show", tmp_path / "run", "i99").code == 2
    assert cli("enrich", "status", tmp_path / "nowhere").code == 2


def test_settings_of_calls_make_nothing_anew(cli: Cli, data: Path, tmp_path: Path) -> None:
    with chat_server(Script()) as url:
        assert cli("run", *words(url, data, tmp_path / "run"), "--until", "interests").code == 0
    other = words("http://127.0.0.1:9/v1", data, tmp_path / "run", **{"calls.interests.concurrency": 2})
    done = cli("run", *other, "--until", "interests")
    assert done.code == 0, done.err
    assert "interests: unchanged, kept" in done.err


def test_the_next_run_tries_again_what_failed_and_makes_anew_what_follows(cli: Cli, data: Path, tmp_path: Path) -> None:
    faults = ["500" if n == 7 else "" for n in range(ITEMS)]
    with chat_server(Script(in_turn=True, turns=2, faults=faults)) as url:
        run = [*words(url, data, tmp_path / "run", **{"calls.interests.tries": 1}), "--until", "sids"]
        assert cli("run", *run).code == 0
        vectors = (tmp_path / "run" / "embeddings" / "embeddings.safetensors").read_bytes()
        # It fails again: it is asked about, and what follows is left alone.
        done = cli("run", *run)
        assert (done.code, stats(url)["calls"]["item 7"]) == (0, 2), done.err
        assert "interests: 1 items that failed before are tried again" in done.err
        assert "embeddings: unchanged, kept" in done.err
        assert "(tried in 2 runs, 2 calls)" in cli("enrich", "status", tmp_path / "run").out
        # It is answered, and what follows is made from that.
        done = cli("run", *run)
        assert (done.code, stats(url)["calls"]["item 7"]) == (0, 3), done.err
        assert "item 7 collector" in cli("enrich", "show", tmp_path / "run", "i7").out
        assert "embeddings: done" in done.err
        assert "sids: done" in done.err
        assert (tmp_path / "run" / "embeddings" / "embeddings.safetensors").read_bytes() != vectors
        done = cli("run", *run)
        assert done.err.count("unchanged, kept") == 5
        assert sum(stats(url)["calls"].values()) == ITEMS + 2
    assert not list((tmp_path / "run").glob("*.partial"))


def test_an_item_is_tried_in_so_many_runs_and_no_more(cli: Cli, data: Path, tmp_path: Path) -> None:
    faults = ["500" if n == 7 else "" for n in range(ITEMS)]
    with chat_server(Script(in_turn=True, turns=9, faults=faults)) as url:
        changes = {"calls.interests.tries": 1, "calls.interests.retry_runs": 2} | PRICES
        run = [*words(url, data, tmp_path / "run", **changes), "--until", "interests"]
        assert cli("run", *run, "--yes").code == 0
        assert f"1 of {ITEMS} to do" in cli("run", *run).err  # it costs money, and is asked about
        assert cli("run", *run, "--yes").code == 0
        done = cli("run", *run)
        assert (done.code, stats(url)["calls"]["item 7"]) == (0, 2), done.err
        told = cli("enrich", "status", tmp_path / "run").out
    assert "29 done, 1 failed, 0 to do" in told
    assert f"0 of {ITEMS} to do" in told


def test_an_answer_that_came_by_another_run_is_taken_up_without_a_call(cli: Cli, data: Path, tmp_path: Path) -> None:
    """As it is after a kill between the answer and the stage's end."""
    faults = ["500" if n == 7 else "" for n in range(ITEMS)]
    with chat_server(Script(in_turn=True, faults=faults)) as url:
        changes = {"calls.interests.tries": 1, "calls.ledger": str(tmp_path / "shared.sqlite")}
        first, second = (words(url, data, tmp_path / name, **changes) for name in ("first", "second"))
        for run in (first, second, first):
            assert cli("run", *run, "--until", "interests").code == 0
        assert sum(stats(url)["calls"].values()) == ITEMS + 1
    assert "item 7 collector" in cli("enrich", "show", tmp_path / "first", "i7").out
