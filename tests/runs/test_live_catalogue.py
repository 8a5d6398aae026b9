"""Items come and go while threads recommend without pause: every answer is of one version of the catalogue."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.support.runs import new_items
from trialigngr.pipeline import add_items
from trialigngr.runs.run import Run, load
from trialigngr.runs.snapshot import WithdrawalState, write_withdrawals

HISTORY = ["p0003", "p0017"]
UPDATES, BATCHES, THREADS = 1000, (300, 700), 2


def offered(run: Run) -> frozenset[str]:
    live = run.catalog_snapshot
    return frozenset(live.catalog.item_ids) - frozenset(live.withdrawn_items)


@pytest.fixture
def batches(copied_run: Path, tmp_path: Path) -> list[Path]:
    """Return two batches of appended items, made by the real thing and taken out of the run again."""
    for number in range(2):
        changed = new_items(copied_run, tmp_path / f"new{number}", 4 + number)
        items = pl.read_parquet(changed / "items.parquet")
        items.with_columns(item_id=f"batch{number}_" + items["item_id"]).write_parquet(changed / "items.parquet")
        add_items.append_items(copied_run, changed)
    made = sorted((copied_run / "appended").iterdir())
    return [Path(shutil.move(path, tmp_path / path.name)) for path in made]


@pytest.mark.long
def test_a_thousand_updates_while_threads_recommend(copied_run: Path, batches: list[Path]) -> None:
    run, random = load(copied_run), np.random.default_rng(0)
    versions = [offered(run)]
    began, answers, failed = threading.Event(), [], []
    stop = threading.Event()

    def recommend() -> None:
        try:
            while not stop.is_set():
                before = len(versions)
                found = run.recommend(HISTORY, 100, unseen=False)
                answers.append((before, [item.item_id for item in found]))
                began.set()
        except BaseException as error:
            failed.append(error)
            began.set()
            raise

    threads = [threading.Thread(target=recommend) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    assert began.wait(300)
    run.recommend(HISTORY, 1, by="title")
    withdrawn: dict[str, WithdrawalState] = {}
    for update in range(UPDATES):
        if update in BATCHES:
            path = batches[BATCHES.index(update)]
            shutil.move(path, copied_run / "appended" / path.name)
        else:
            item_id = str(random.choice(sorted(versions[-1] | set(withdrawn))))
            if withdrawn.pop(item_id, None) is None:
                withdrawn[item_id] = "reserved"
            write_withdrawals(copied_run, withdrawn)
        assert run.refresh_catalog()
        made = vars(run.current_recommender).keys()
        assert {"sid_recommender", "title_recommender"} <= made, "no request waits for them"
        versions.append(offered(run))
    stop.set()
    for thread in threads:
        thread.join(300)
    assert not failed
    assert not run.refresh_catalog(), "nothing has changed since"
    assert len(versions[-1] | set(withdrawn)) == len(versions[0]) + 9
    assert len(answers) >= 20
    known: dict[frozenset[str], int] = {}
    for number, version in enumerate(versions):
        known[version] = number
    for before, found in answers:
        assert len(found) == len(set(found))
        assert frozenset(found) in known, "this answer mixes two versions"
        assert known[frozenset(found)] >= before - 1, "an answer from before the last refresh"
    assert frozenset(item.item_id for item in run.recommend(HISTORY, 100, unseen=False)) == versions[-1]
