from __future__ import annotations

import io
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from benchmarks.servers.chat import MODEL, Script, chat_server, stats
from tests.support.commands import Done
from tests.support.hostile_server import Hostile, completion, listening
from tests.support.runs import tiny
from trialigngr.enrich.prompts import read_prompt
from trialigngr.foundation.artifact import read_manifest
from trialigngr.llm.settings import ServerSettings

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
    chosen = {"interests.generator": "openai", "interests.model": MODEL, "calls.interests.openai.base_url": url,
              "calls.interests.openai.initial_backoff": 0.01} | changes  # fmt: skip
    sets = [word for name, value in chosen.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    return ["trialigngr-demo", "--data", str(data), "--out", str(out), *sets]


SMALL = [
    word
    for change in ("epochs=2", "hidden_size=8", "max_history=8", "validate_users=30")
    for word in ("--set", f"sasrec.{change}")
]
PRICES = {"calls.interests.openai.prompt_price": 1.0, "calls.interests.openai.completion_price": 10.0}


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


class Terminal(io.StringIO):
    """Somebody who sits there and has typed something."""

    def isatty(self) -> bool:
        return True


def test_somebody_at_a_terminal_is_asked(cli: Cli, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with chat_server(Script()) as url:
        run = [*words(url, data, tmp_path / "run", **PRICES), "--until", "interests"]
        monkeypatch.setattr("sys.stdin", Terminal("n\n"))
        done = cli("run", *run)
        assert (done.code, "Go on? [y/N]" in done.err) == (130, True)
        assert stats(url)["calls"] == {}
        monkeypatch.setattr("sys.stdin", Terminal("y\n"))
        done = cli("run", *run)
        assert (done.code, "Go on? [y/N]" in done.err) == (0, True)
        assert sum(stats(url)["calls"].values()) == ITEMS
        assert "Go on?" not in cli("run", *run).err


def test_a_key_without_a_price_is_asked_about(
    cli: Cli, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "secret-123")
    with chat_server(Script(key="secret-123")) as url:
        own = {"calls.interests.openai.api_key_env": "MY_API_KEY"}
        run = [*words(url, data, tmp_path / "run", **own), "--until", "interests"]
        done = cli("run", *run)
        assert done.code == 2
        assert (
            "no price known (set calls.interests.openai.prompt_price and calls.interests.openai.completion_price, for "
            "a million tokens)" in done.err
        )
        assert f"This will make about {ITEMS} calls for which no price is known; say --yes to go on." in done.err
        assert not (tmp_path / "run" / "interests").exists()
        assert cli("run", *run, "--yes").code == 0
        assert cli("run", *run).code == 0


def test_a_search_tells_what_all_its_trials_cost(cli: Cli, data: Path, tmp_path: Path) -> None:
    with chat_server(Script()) as url:
        prices = {
            "calls.interests.openai.prompt_price": 0.0,
            "calls.interests.openai.completion_price": 1000.0,
            "interests.max_tokens": 100,
        }
        search = words(url, data, tmp_path / "s", **prices)
        own = ("--over", "interests.temperature=[0.5, 1.0]", "--over", "train.epochs=[1, 2]")
        done = cli("tune", *search, *tiny(), *own)
        assert done.code == 2
        # Three temperatures, 30 items each, at most 100 tokens at 0.001: 9.00. How long is trained does not count.
        assert "This will cost about 9.00; say --yes to go on." in done.err
        assert done.err.count(f"{ITEMS} of {ITEMS} to do") == 3
        # SASRec needs no interests.
        done = cli("tune", *search, *SMALL, "--over", "sasrec.dropout=[0.5]")
        assert done.code == 0, done.err
        assert stats(url)["calls"] == {}
        done = cli("tune", *search, *tiny(train__max_steps=2), "--over", "train.batch_size=[16]", "--yes")
        assert done.code == 0, done.err
        assert sum(stats(url)["calls"].values()) == ITEMS


def test_the_hours_are_those_of_the_measured_rate(cli: Cli, data: Path, tmp_path: Path) -> None:
    with chat_server(Script()) as url:
        run = words(url, data, tmp_path / "run")
        assert cli("run", *run, "--until", "catalog").code == 0
        assert "rate not measured yet" in cli("plan", *run).out
        assert cli("run", *run, "--until", "interests").code == 0
        table = pl.read_parquet(data / "items.parquet")
        changed = pl.when(pl.col("item_id").is_in(["i3", "i4", "i5"])).then(pl.col("title") + " x").otherwise("title")
        table.with_columns(changed.alias("title")).write_parquet(data / "items.parquet")
        assert cli("run", *run, "--until", "catalog").code == 0
        with closing(sqlite3.connect(tmp_path / "run" / "responses.sqlite")) as base, base:
            ((finished,),) = base.execute("SELECT finished FROM sessions")
            # 30 items in 15 hours are 2 an hour, so 3 take an hour and a half.
            base.execute("UPDATE sessions SET updated = started + 15 * 3600")
        done = cli("plan", *run)
    assert finished == ITEMS
    assert f"3 of {ITEMS} to do" in done.out
    assert "1.5 h at the rate of the last run" in done.out


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
        done = cli("plan", *run, "--set", "calls.interests.openai.completion_price=1000000")
    assert "money 80.00," in done.out


@pytest.fixture
def pictured(data: Path) -> Path:
    table = pl.read_parquet(data / "items.parquet")
    Image.new("RGB", (40, 40), "tan").save(data / "tan.png")
    table.with_columns(image_path=pl.lit("tan.png")).write_parquet(data / "items.parquet")
    return data


def test_what_cannot_work_later_is_told_before_an_earlier_stage_is_paid(
    cli: Cli, pictured: Path, tmp_path: Path
) -> None:
    with chat_server(Script()) as url:
        good = {"captions.generator": "openai", "captions.model": MODEL, "calls.captions.openai.base_url": url}
        wrong: dict[str, tuple[dict[str, object], str]] = {
            "key": ({"calls.interests.openai.api_key_env": "NO_API_KEY"}, "NO_API_KEY holds no key"),
            "url": ({"calls.interests.openai.base_url": "http://127.0.0.1:9/v1"}, "cannot be reached"),
            "model": ({"interests.model": "tiny-chart"}, f"Did you mean '{MODEL}'?"),
            "prompt": ({"interests.prompt_template": "gone.toml"}, "There is no prompt file gone.toml"),
            "generator": ({"interests.generator": "lexikon"}, "Did you mean 'lexicon'?"),
            "folder": ({"interests.generator": "transformers", "interests.model": "no/where/here"}, "cannot be loaded"),
            "encoder": ({"embeddings.encoder": "gem"}, "known are gme, packaged, sentence-transformers"),
            "gme": ({"embeddings.encoder": "gme", "embeddings.model": "no/where/here"}, "cannot be loaded"),
            "none": ({"embeddings.encoder": "sentence-transformers"}, "needs embeddings.model"),
        }
        for name, (changes, sentence) in wrong.items():
            done = cli("run", *words(url, pictured, tmp_path / name, **good | changes), "--until", "embeddings")
            assert (done.code, done.err.count("Error: ")) == (2, 1), name
            assert sentence in done.err.splitlines()[-1], done.err
            assert not (tmp_path / name / "captions").exists()
        assert stats(url)["calls"] == {}
        # What is not wanted, and what is done already, is not looked at.
        out = tmp_path / "run"
        done = cli("run", *words(url, pictured, out, **good | wrong["url"][0]), "--until", "captions")
        assert done.code == 0, done.err
        assert stats(url)["calls"] == {"item 0": 1}, "the same picture is paid for once"
    done = cli("run", *words(url, pictured, out, **good | {"interests.generator": "none"}), "--until", "interests")
    assert done.code == 0, done.err


def test_a_prompt_of_ones_own_that_was_edited_makes_its_stage_again(cli: Cli, data: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('answer = "interests"\nsystem = "Mine."\nuser = "{item}"\n', "utf-8")
    changes = {"interests.prompt_template": str(own)}
    with chat_server(Script()) as url:
        run = words(url, data, tmp_path / "run", **changes)
        for wanted in (ITEMS, ITEMS):
            done = cli("run", *run, "--until", "interests")
            assert done.code == 0, done.err
            assert sum(stats(url)["calls"].values()) == wanted
        assert "interests: unchanged, kept" in done.err
        own.write_text('answer = "interests"\nsystem = "Mine well."\nuser = "{item}"\n', "utf-8")
        assert "interests    changed" in cli("plan", *run).out
        done = cli("run", *run, "--until", "interests")
        assert done.code == 0, done.err
        assert sum(stats(url)["calls"].values()) == 2 * ITEMS
    assert stats_of(tmp_path / "run")["prompt"] == read_prompt(str(own)).content_hash


def stats_of(run: Path) -> dict[str, object]:
    facts: dict[str, object] = read_manifest(run / "interests").facts
    return facts


def test_a_whole_run_tells_nobody_the_key_though_the_server_does(
    cli: Cli, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "secret-123")
    faults = ["told the key" if n % 3 == 0 else "" for n in range(ITEMS)]
    out, own = tmp_path / "run", {"calls.interests.openai.api_key_env": "MY_API_KEY"}
    with chat_server(Script(key="secret-123", in_turn=True, turns=2, faults=faults)) as url:
        done = cli("run", *words(url, data, out, **own), *tiny(train__max_steps=4), "--yes")
        assert done.code == 0, done.err
        told = done.err + cli("enrich", "status", out).out + cli("enrich", "show", out, "i0").out
    assert "10 × the server refused the item with status 400: no Bearer … here" in told
    assert "secret-123" not in told
    assert all(b"secret-123" not in path.read_bytes() for path in out.rglob("*") if path.is_file())
    page = (out / "report.html").read_text("utf-8")
    assert url not in page
    assert "MY_API_KEY" not in page
    assert MODEL in page


def test_status_and_show_tell_what_failed(cli: Cli, data: Path, tmp_path: Path) -> None:
    faults = ["500" if n == 7 else "" for n in range(ITEMS)]
    with chat_server(Script(in_turn=True, faults=faults)) as url:
        run = words(url, data, tmp_path / "run", **{"calls.interests.openai.max_attempts": 1})
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
    other = words("http://127.0.0.1:9/v1", data, tmp_path / "run", **{"calls.interests.openai.max_concurrency": 2})
    done = cli("run", *other, "--until", "interests")
    assert done.code == 0, done.err
    assert "interests: unchanged, kept" in done.err


def test_the_next_run_tries_again_what_failed_and_makes_anew_what_follows(cli: Cli, data: Path, tmp_path: Path) -> None:
    faults = ["500" if n == 7 else "" for n in range(ITEMS)]
    with chat_server(Script(in_turn=True, turns=2, faults=faults)) as url:
        run = [*words(url, data, tmp_path / "run", **{"calls.interests.openai.max_attempts": 1}), "--until", "sids"]
        assert cli("run", *run).code == 0
        vectors = (tmp_path / "run" / "embeddings" / "embeddings.safetensors").read_bytes()
        # Who cannot be asked again is told of before anything begins, and nothing is lost.
        done = cli("run", *run, "--set", 'calls.interests.openai.base_url="http://127.0.0.1:9/v1"')
        assert (done.code, done.err.count("cannot be reached")) == (2, 1)
        assert "tried again" not in done.err
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
        changes = {"calls.interests.openai.max_attempts": 1, "calls.max_runs": 2} | PRICES
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
        changes = {"calls.interests.openai.max_attempts": 1, "calls.response_cache": str(tmp_path / "shared.sqlite")}
        first, second = (words(url, data, tmp_path / name, **changes) for name in ("first", "second"))
        for run in (first, second, first):
            assert cli("run", *run, "--until", "interests").code == 0
        assert sum(stats(url)["calls"].values()) == ITEMS + 1
    assert "item 7 collector" in cli("enrich", "show", tmp_path / "first", "i7").out


def test_another_machine_is_asked_nothing_before_somebody_agrees(
    cli: Cli, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even for its list of models, which the key would go with; and whether or not it is paid."""
    monkeypatch.setenv("MY_API_KEY", "secret-123")
    monkeypatch.setattr(ServerSettings, "is_remote", property(lambda calls: True))
    with listening(Hostile(completion())) as told:
        for name, own in {"paid": {"calls.interests.openai.api_key_env": "MY_API_KEY"}, "free": {}}.items():
            run = [*words(told.url, data, tmp_path / name, **own), "--until", "interests"]
            done = cli("run", *run)
            assert (done.code, done.err.count("Error: ")) == (2, 1)
            with_key = " with the key in MY_API_KEY" if own else ""
            assert f"ask {told.url}{with_key}; say --yes to go on." in done.err
            assert told.asked == []
            # Nor where the ledger, which may be a stranger's too, leaves nothing to do.
            assert cli("run", *run, "--yes").code == 0
            assert len(told.asked) > ITEMS
            shutil.rmtree(tmp_path / name / "interests")
            told.asked.clear()
            assert cli("run", *run).code == 2
            assert told.asked == []


def test_a_variable_that_is_no_key_is_named_by_whoever_runs(
    cli: Cli, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME_SECRET", "secret-123")
    monkeypatch.setattr("trialigngr.llm.api_keys._allowed", set())
    with listening(Hostile(completion())) as told:
        own = {"calls.interests.openai.api_key_env": "HOME_SECRET"}
        run = [*words(told.url, data, tmp_path / "run", **own), "--until", "interests", "--yes"]
        done = cli("run", *run)
        assert done.code == 2
        assert "say --allow-key-variable HOME_SECRET." in done.err
        assert told.asked == []
        assert cli("run", *run, "--allow-key-variable", "HOME_SECRET").code == 0
        assert {headers["authorization"] for _, headers in told.asked} == {"Bearer secret-123"}


@pytest.mark.parametrize(
    ("url", "away"),
    [
        ("http://localhost:8000/v1", False), ("http://127.0.0.1/v1", False), ("http://127.9.9.9/v1", False),
        ("http://[::1]:8/v1", False), ("https://api.shop.com/v1", True), ("http://localhost.shop.com/v1", True),
        ("http://10.0.0.7:8000/v1", True), ("http://[::ffff:9.9.9.9]/v1", True), ("http:///v1", True), ("none", True),
    ],
)  # fmt: skip
def test_which_servers_are_other_machines(url: str, away: bool) -> None:
    assert ServerSettings(base_url=url).is_remote is away
