"""SASRec learns what can be learned, sees no future, goes on after a kill, and comes back from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.histories import histories
from trialigngr.catalog.histories import Histories
from trialigngr.evaluate.scorer import compute_ranks
from trialigngr.foundation.errors import ArtifactError
from trialigngr.metrics.ranks import hit_rate
from trialigngr.sequential import sasrec
from trialigngr.sequential.sasrec import SasRec, train_sasrec
from trialigngr.sequential.settings import SasRecSettings

SMALL = SasRecSettings(
    hidden_size=16, num_layers=1, num_heads=2, max_history=6, dropout=0.0, batch_size=16, epochs=40, patience=40
)
N = 12


@pytest.fixture(scope="module")
def circle() -> Histories:
    """Everybody goes round a circle of items, from anywhere."""
    random = np.random.default_rng(0)
    return histories(
        *[[int(start + step) % N for step in range(random.integers(4, 15))] for start in random.integers(0, N, 80)]
    )


def train(log: Histories, out: Path, **changes: Any) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    return train_sasrec(SMALL.model_copy(update=changes), log, N, log.list_targets("valid"), 0, out)


def test_it_learns_the_circle(circle: Histories, tmp_path: Path) -> None:
    facts = train(circle, tmp_path)
    found = SasRec.load(tmp_path)
    targets = circle.list_targets("test")
    assert hit_rate(compute_ranks(found, circle, targets, mask_seen=False), 1).mean() > 0.95
    assert facts["valid_ndcg_10"] > 0.95
    assert found.item_vectors.shape == (N, 16)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sasrec.json", "sasrec.safetensors"]


def test_a_broken_training_goes_on_to_the_same_weights(
    circle: Histories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(circle, tmp_path / "whole", epochs=5, dropout=0.3)
    run_epoch, done = sasrec._train_epoch, []

    def breaks(*words: Any) -> float:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        return run_epoch(*words)

    with monkeypatch.context() as broken:
        broken.setattr(sasrec, "_train_epoch", breaks)
        with pytest.raises(KeyboardInterrupt):
            train(circle, tmp_path / "broken", epochs=5, dropout=0.3)
    train(circle, tmp_path / "broken", epochs=5, dropout=0.3)
    whole, broken_off = (SasRec.load(tmp_path / name).item_vectors for name in ("whole", "broken"))
    np.testing.assert_array_equal(whole, broken_off)


def test_a_score_depends_on_the_last_items_alone_and_not_on_the_batch(circle: Histories) -> None:
    torch.manual_seed(0)
    found = SasRec(SMALL, N)
    long = np.arange(10) % N
    alone = found.score_items([long])
    np.testing.assert_allclose(alone, found.score_items([long[-6:]]), atol=1e-6)
    np.testing.assert_allclose(alone[0], found.score_items([long[:2], long, long[:5]])[1], atol=1e-5)


def test_states_see_no_future() -> None:
    torch.manual_seed(0)
    network = SasRec(SMALL, N).network.eval()
    rows = torch.tensor([[1, 2, 3, 4]])
    other = torch.tensor([[1, 2, 9, 8]])
    torch.testing.assert_close(network(rows)[:, :2], network(other)[:, :2])
    assert not torch.allclose(network(rows)[:, 2:], network(other)[:, 2:])


def test_every_step_of_a_long_history_is_a_target_once() -> None:
    log = histories(list(range(20)))
    asked = [row for piece in sasrec._cut_histories(log, 6) for row in piece[1:]]
    assert sorted(asked) == list(range(1, 18))
    assert all(len(piece) <= 7 for piece in sasrec._cut_histories(log, 6))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds no sasrec\.json"):
        SasRec.load(tmp_path)
