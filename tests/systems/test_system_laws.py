"""Laws of every system of the registry that is fitted by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.circle import CircleInputs, N, fit_system, load_system, rank_last_training_items
from trialigngr.catalog.queries import Queries
from trialigngr.decode.filters import Filter
from trialigngr.evaluate.system import System
from trialigngr.foundation.config import PresetSettings
from trialigngr.metrics.ranks import hit_rate
from trialigngr.systems.registry import SYSTEMS
from trialigngr.train.loop import Trainer

FITTED = [spec.name for spec in SYSTEMS.values() if spec.fit is not None]
NETWORKS = [name for name in FITTED if issubclass(SYSTEMS[name].settings or int, PresetSettings)]
ENOUGH = {"popularity": N, "item_knn": 7, "ease": 7}
"""Among how many items an answer must be of those that do not know what follows what: 1 of all others."""
FEW: dict[str, Any] = {"epochs": 3, "pretrain_epochs": 2, "dropout": 0.3}
every_system = pytest.mark.parametrize("name", FITTED)
every_network = pytest.mark.parametrize("name", NETWORKS)


@pytest.fixture(scope="module")
def inputs() -> CircleInputs:
    return CircleInputs()


@pytest.fixture(scope="module")
def fitted(inputs: CircleInputs, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a call that gives the folder of a fitted system; it is fitted once."""
    folders: dict[str, Path] = {}

    def fit(name: str) -> Path:
        if name not in folders:
            fit_system(name, tmp_path_factory.mktemp(name), inputs)
            folders[name] = next(tmp_path_factory.getbasetemp().glob(f"{name}0"))
        return folders[name]

    return fit


def read_files(folder: Path) -> dict[str, bytes]:
    """Return what a system wrote, but for what says how long it took."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".jsonl"}


def rank_all(system: System, queries: Queries, filters: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of all items in row order, and the lists; −inf where a list ends."""
    found = system.rank(queries, N, filters)
    scores_BN = np.full((len(queries), N), -np.inf)
    for line, rows in enumerate(found.rows_BK):
        scores_BN[line, rows[rows >= 0]] = found.scores_BK[line][rows >= 0]
    return scores_BN, found.rows_BK


def ask(*histories: list[int]) -> Queries:
    """Return the questions of strangers, an item a day."""
    rows = [np.array(history) for history in histories]
    return Queries(rows, None, [np.arange(len(history)) * 100_000 for history in rows])


@every_system
def test_it_overfits_twenty_users(name: str, inputs: CircleInputs, fitted: Callable[[str], Path]) -> None:
    """It tells the last item of each training part from those before it."""
    ranks = rank_last_training_items(load_system(name, fitted(name), inputs), inputs.histories)
    assert hit_rate(ranks, ENOUGH.get(name, 1)).mean() > 0.9


@every_system
def test_it_comes_back_with_the_same_scores(name: str, inputs: CircleInputs, fitted: Callable[[str], Path]) -> None:
    queries = ask([1, 2, 3], [5], [7, 9, 8])
    one, other = (rank_all(load_system(name, fitted(name), inputs), queries)[0] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert np.isfinite(one).all()


@every_system
def test_a_batch_of_one_is_a_batch_of_many(name: str, inputs: CircleInputs, fitted: Callable[[str], Path]) -> None:
    system, log = load_system(name, fitted(name), inputs), inputs.histories
    queries = log.build_queries(log.list_targets("test"))
    together, _ = rank_all(system, queries)
    alone = np.concatenate([rank_all(system, queries.take(slice(n, n + 1)))[0] for n in range(len(queries))])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


@every_system
def test_filters_hold_and_change_no_order(name: str, inputs: CircleInputs, fitted: Callable[[str], Path]) -> None:
    system, queries = load_system(name, fitted(name), inputs), ask([1, 2, 3], [5, 6])
    _, plain = rank_all(system, queries)
    only = np.array([2, 4, 6, 8, 10])
    _, found = rank_all(system, queries, [Filter(np.array([4]), only), np.array([0, 7])])
    assert [row for row in found[0] if row >= 0] == [row for row in plain[0] if row in {2, 6, 8, 10}]
    assert [row for row in found[1] if row >= 0] == [row for row in plain[1] if row not in {0, 7}]


@every_system
def test_what_is_tested_changes_no_byte(name: str, inputs: CircleInputs, tmp_path: Path) -> None:
    """The test part of a log is not learned from; and the same seed gives the same bytes."""
    log = inputs.histories
    items, times = log.items.copy(), None if log.times is None else log.times.copy()
    last = log.offsets[1:] - 1
    items[last] = (items[last] + 11) % N
    if times is not None:
        times[last] += 1_000_000
    fit_system(name, tmp_path / "one", inputs, **FEW)
    fit_system(name, tmp_path / "other", replace(inputs, histories=replace(log, items=items, times=times)), **FEW)
    assert read_files(tmp_path / "one") == read_files(tmp_path / "other")


@every_network
def test_it_trains_as_in_its_paper(name: str, inputs: CircleInputs, tmp_path: Path) -> None:
    facts = fit_system(name, tmp_path, inputs, preset="paper", epochs=1, pretrain_epochs=1)
    assert np.isfinite(rank_all(load_system(name, tmp_path, inputs), ask([1, 2, 3], [5]))[0]).all()
    assert facts["epochs"] == 1


@every_network
def test_a_broken_training_goes_on_to_the_same_weights(
    name: str, inputs: CircleInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_checkpoint_is_due", lambda *_: True)
    fit_system(name, tmp_path / "whole", inputs, **FEW)
    train_step, done = Trainer.train_step, []
    breaks_at = (4, 9)

    def breaks(*words: Any) -> float:
        done.append(1)
        if len(done) in breaks_at:
            raise KeyboardInterrupt
        return train_step(*words)

    with monkeypatch.context() as broken:
        broken.setattr(Trainer, "train_step", breaks)
        for _ in breaks_at:
            with pytest.raises(KeyboardInterrupt):
                fit_system(name, tmp_path / "broken", inputs, **FEW)
    fit_system(name, tmp_path / "broken", inputs, **FEW)
    assert read_files(tmp_path / "whole") == read_files(tmp_path / "broken")
