"""The ledger between processes: some die, some share it, one has a full disk."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import polars as pl
import pytest

from benchmarks.servers.chat import Script, chat_server, stats
from benchmarks.servers.mining import SETTINGS, in_a_process, killed, make_calls, mine, right, titled
from tests.support.forkserver import start_forkserver
from trialigngr.enrich.interests import INTERESTS_FILE, load_interests
from trialigngr.enrich.mining import write_interests
from trialigngr.llm.response_cache import CachedResponse, ResponseCache, ResponseOrigin, ResponseRecord

CONCURRENCY = 64


@pytest.fixture(scope="module", autouse=True)
def processes() -> None:
    start_forkserver()


@pytest.mark.parametrize(("kills", "items"), [(1, 300), pytest.param(5, 2_000, marks=pytest.mark.long)])
def test_every_fault_and_kills_lose_nothing(tmp_path: Path, kills: int, items: int) -> None:
    with chat_server(Script(share=0.2, hang=3)) as url:
        calls = make_calls(url, max_concurrency=CONCURRENCY, timeout=2, max_attempts=12, initial_backoff=0.02)
        assert killed(kills, tmp_path, items, calls) == 0
        counted = stats(url)
    assert right(tmp_path, items)
    again = sum(number - 1 for number in counted["good"].values())
    assert again <= kills * CONCURRENCY
    assert len(counted["good"]) == items
    assert sum(counted["calls"].values()) > 1.1 * items  # the faults did happen
    with closing(sqlite3.connect(tmp_path / "responses.sqlite")) as base:
        (logged,) = base.execute("SELECT sum(repeated_calls) FROM responses").fetchone()
    assert again <= logged <= kills * CONCURRENCY


def open_each(paths: list[Path], together: Barrier) -> None:
    for path in paths:
        together.wait()
        with ResponseCache(path):
            pass


def test_processes_open_a_new_ledger_at_one_moment(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    paths, together = [tmp_path / f"{number}.sqlite" for number in range(40)], context.Barrier(6, timeout=20)
    processes = [context.Process(target=open_each, args=(paths, together)) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6


def test_two_processes_share_a_ledger_and_pay_once(tmp_path: Path) -> None:
    with chat_server(Script(delay=0.02)) as url:
        calls = make_calls(url, max_concurrency=8)
        folders = [tmp_path / "one", tmp_path / "two"]
        for folder in folders:
            folder.mkdir()
            (folder / "responses.sqlite").symlink_to(tmp_path / "shared.sqlite")
        both = [in_a_process(folder, 150, calls) for folder in folders]
        for process in both:
            process.join()
        assert set(stats(url)["calls"].values()) == {1}
    assert [process.exitcode for process in both] == [0, 0]
    assert (folders[0] / INTERESTS_FILE).read_bytes() == (folders[1] / INTERESTS_FILE).read_bytes()
    assert right(folders[0], 150)


def test_one_of_two_is_killed_and_the_other_finishes_for_both(tmp_path: Path) -> None:
    with chat_server(Script(delay=0.05)) as url:
        calls = make_calls(url, max_concurrency=4)
        first = in_a_process(tmp_path, 60, calls)
        second = in_a_process(tmp_path, 60, calls)
        second.join(0.5)
        first.kill()
        second.join()
        first.join()
        assert second.exitcode == 0
        assert sum(stats(url)["good"].values()) <= 60 + 4
    assert right(tmp_path, 60)


def test_what_another_gave_up_is_kept_with_its_problem_and_may_be_asked_again(tmp_path: Path) -> None:
    origin, path = ResponseOrigin("interests", "openai:m", "p"), tmp_path / "responses.sqlite"
    with ResponseCache(path) as one, ResponseCache(path) as other:
        other.lease_keys([b"given up", b"done", b"in flight"], origin, 3)
        failed = ResponseRecord(b"given up", None, "no JSON", False, 2, 0, 0)
        other.record_responses([failed, ResponseRecord(b"done", "{}", None, False, 1, 0, 0)])
        keys = [b"given up", b"done", b"in flight", b"never"]
        found = [CachedResponse(None, "no JSON", True), CachedResponse("{}", None, False), None, None]
        assert list(one.read_responses(keys, 3)) == found
        # It has tried what it may, and so has whoever may try once.
        given_up = CachedResponse(None, "no JSON", False)
        assert list(other.read_responses(keys, 3)) == list(one.read_responses(keys, 1)) == [given_up, *found[1:]]


def test_only_a_changed_title_is_paid_again(tmp_path: Path) -> None:
    with chat_server(Script()) as url:
        calls, ledger = make_calls(url), tmp_path / "responses.sqlite"
        catalog = titled(5)
        write_interests(SETTINGS, catalog, [None] * 5, tmp_path, [], calls, ledger)
        changed = pl.when(pl.col("item_id") == "3").then(pl.lit("item 77")).otherwise("title").alias("title")
        other = type(catalog)(catalog.table.with_columns(changed), catalog.root)
        write_interests(SETTINGS, other, [None] * 5, tmp_path, [], calls, ledger)
        assert stats(url)["calls"] == {f"item {n}": 1 for n in (0, 1, 2, 3, 4, 77)}
        assert load_interests(tmp_path)[3].lifestyle == "item 77 life"
        warmer = SETTINGS.model_copy(update={"temperature": 0.2})
        write_interests(warmer, catalog, [None] * 5, tmp_path, [], calls, ledger)
        assert stats(url)["calls"]["item 0"] == 2


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from benchmarks.servers.mining import mine, make_calls
from trialigngr.cli.main import _find_errno
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))
try:
    mine(Path(sys.argv[2]), 150, make_calls(sys.argv[1]))
except OSError as error:
    sys.exit(40 if _find_errno(error) else 1)
"""


def test_a_full_disk_is_said_and_what_was_counted_stays(root: Path, tmp_path: Path) -> None:
    with chat_server(Script(delay=0.001)) as url:
        words = [sys.executable, "-c", FULL_DISK, url, str(tmp_path), "100000"]
        done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 40, done.stderr
        with closing(sqlite3.connect(tmp_path / "responses.sqlite")) as base:
            (counted,) = base.execute("SELECT count(*) FROM responses WHERE state = 'done'").fetchone()
            assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert 0 < counted < 150
        before = stats(url)["calls"]
        mine(tmp_path, 150, make_calls(url))
        assert right(tmp_path, 150)
        after = stats(url)["calls"]
        assert sum(after.values()) - sum(before.values()) == 150 - counted
