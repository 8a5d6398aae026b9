"""Laws of every next-item network: it learns what can be learned, sees no future, goes on after a kill, comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.support.histories import histories
from trialigngr.catalog.histories import Histories
from trialigngr.catalog.queries import Queries
from trialigngr.evaluate.system import compute_ranks
from trialigngr.foundation.errors import ArtifactError, CatalogError, RecipeError, TriAlignError
from trialigngr.metrics.ranks import hit_rate
from trialigngr.sequential.batches import HistoryPieces, SequenceBatch
from trialigngr.sequential.gru4rec import Gru4Rec
from trialigngr.sequential.network import WEIGHTS_FILE, NetworkScorer, NextItemNetwork, load_item_vectors
from trialigngr.sequential.sasrec import SasRec
from trialigngr.sequential.settings import SasRecSettings, SequentialSettings
from trialigngr.sequential.training import train_network
from trialigngr.train.loop import Trainer

SMALL: dict[str, Any] = {
    "hidden_size": 16, "max_history": 6, "dropout": 0.0, "batch_size": 16, "epochs": 60, "patience": 60,
    "learning_rate": 3e-3,
}  # fmt: skip
NETWORKS: dict[str, tuple[type[NextItemNetwork[Any]], SequentialSettings]] = {
    "gru4rec": (Gru4Rec, SequentialSettings(**SMALL)),
    "sasrec": (SasRec, SasRecSettings(**SMALL, num_layers=1, num_heads=2)),
}
N = 12
every_network = pytest.mark.parametrize("name", list(NETWORKS))


@pytest.fixture(scope="module")
def circle() -> Histories:
    """Everybody goes round a circle of items, from anywhere."""
    random = np.random.default_rng(0)
    return histories(
        *[[int(start + step) % N for step in range(random.integers(4, 15))] for start in random.integers(0, N, 80)]
    )


def train(name: str, log: Histories, out: Path, **changes: Any) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    network, settings = NETWORKS[name]
    return train_network(name, network, settings.model_copy(update=changes), log, N, log.list_targets("valid"), 0, out)


def load(name: str, folder: Path, num_items: int = N) -> NetworkScorer:
    network, settings = NETWORKS[name]
    return NetworkScorer.load(name, network, type(settings), folder, num_items, "cpu")


def build(name: str) -> NetworkScorer:
    torch.manual_seed(0)
    network, settings = NETWORKS[name]
    return NetworkScorer(name, network(settings, N), "cpu")


@every_network
def test_it_learns_the_circle_and_comes_back(name: str, circle: Histories, tmp_path: Path) -> None:
    facts = train(name, circle, tmp_path)
    found, targets = load(name, tmp_path), circle.list_targets("test")
    assert hit_rate(compute_ranks(found, circle, targets), 1).mean() > 0.95
    assert facts["valid_ndcg_10"] > 0.95
    assert load_item_vectors(tmp_path).shape == (N, 16)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "metrics.jsonl", "network.json", "network.safetensors"
    ]  # fmt: skip


@every_network
def test_a_broken_training_goes_on_to_the_same_weights(
    name: str, circle: Histories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_checkpoint_is_due", lambda *_: True)
    few = {"epochs": 4, "dropout": 0.3}
    train(name, circle, tmp_path / "whole", **few)
    train_step, done = Trainer.train_step, []

    def breaks(*words: Any) -> float:
        if len(done) == 13:
            raise KeyboardInterrupt
        done.append(1)
        return train_step(*words)

    with monkeypatch.context() as broken:
        broken.setattr(Trainer, "train_step", breaks)
        with pytest.raises(KeyboardInterrupt):
            train(name, circle, tmp_path / "broken", **few)
    train(name, circle, tmp_path / "broken", **few)
    whole, again = (load_file(tmp_path / folder / WEIGHTS_FILE) for folder in ("whole", "broken"))
    assert all(torch.equal(whole[key], again[key]) for key in whole)


@every_network
def test_a_score_depends_on_the_last_items_alone_and_not_on_the_batch(name: str) -> None:
    found, long = build(name), np.arange(10) % N
    alone = found.score_items(Queries([long]))
    np.testing.assert_allclose(alone, found.score_items(Queries([long[-6:]])), atol=1e-6)
    together = found.score_items(Queries([long[:2], long, long[:5]]))
    np.testing.assert_allclose(alone[0], together[1], atol=1e-5)


@every_network
def test_states_see_no_future(name: str) -> None:
    network = build(name).network.eval()
    batches = [Queries([np.array(rows)]) for rows in ([1, 2, 3, 4], [1, 2, 9, 8])]
    one, other = (network(SequenceBatch.from_queries(given, torch.device("cpu"))[0]) for given in batches)
    torch.testing.assert_close(one[:, :2], other[:, :2])
    assert not torch.allclose(one[:, 2:], other[:, 2:])


@every_network
def test_what_stands_beside_a_history_in_a_batch_changes_no_state(name: str) -> None:
    """A state in a training batch, packed or padded, is that of the history alone."""
    log = histories([1, 2, 3, 4, 0, 0], [5, 6, 0, 0], [7, 8, 9, 0, 0], [3, 1, 4, 1, 5, 9, 2, 0, 0])
    network, cpu = build(name).network.eval(), torch.device("cpu")
    pieces = HistoryPieces.from_histories(log, 6)
    batch = pieces.build_batch(np.arange(len(pieces)), cpu, name, 0, packs=network.packs_histories)
    if network.packs_histories:
        assert batch.inputs.items_BT.shape == (2, 6), "3, 1 and 2 inputs fill a row, 6 the next"
    states_MD = network(batch.inputs)[batch.real_BT]
    spans = zip(pieces.starts_P, pieces.stops_P, strict=True)
    alone = [network(SequenceBatch.from_queries(Queries([log.items[a : b - 1]]), cpu)[0])[0] for a, b in spans]
    torch.testing.assert_close(states_MD, torch.cat(alone), atol=1e-5, rtol=1e-5)
    assert batch.targets_BT[batch.real_BT].tolist() == [
        int(row) for a, b in zip(pieces.starts_P, pieces.stops_P, strict=True) for row in log.items[a + 1 : b]
    ]


def test_every_step_of_a_long_history_is_a_target_once() -> None:
    log = histories(list(range(20)))
    pieces = HistoryPieces.from_histories(log, 6)
    asked = [int(row) for a, b in zip(pieces.starts_P, pieces.stops_P, strict=True) for row in log.items[a + 1 : b]]
    assert sorted(asked) == list(range(1, 18))
    assert all(b - a <= 7 for a, b in zip(pieces.starts_P, pieces.stops_P, strict=True))


@every_network
def test_a_loss_that_is_no_number_stops_with_a_sentence(name: str, circle: Histories, tmp_path: Path) -> None:
    with pytest.raises(TriAlignError, match=rf"{name}.*is not a number at step .*lower {name}\.learning_rate"):
        train(name, circle, tmp_path, learning_rate=1e30)


def test_histories_of_one_item_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no user has two items in the training part"):
        train("gru4rec", histories([1, 2, 3], [4, 5, 6]), tmp_path)


def test_heads_that_do_not_fit_are_a_sentence() -> None:
    with pytest.raises(RecipeError, match=r"sasrec\.hidden_size = 8 cannot be shared by 3 heads"):
        SasRec(SasRecSettings(hidden_size=8, num_heads=3), N)


@every_network
def test_nothing_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds no network\.json"):
        load(name, tmp_path)


DAMAGES = {
    "no JSON": lambda shape: "{",
    "no items": lambda shape: json.dumps({"settings": shape["settings"]}),
    "another catalogue": lambda shape: json.dumps(shape | {"items": N + 1}),
    "another size": lambda shape: json.dumps(shape | {"settings": shape["settings"] | {"hidden_size": 1 << 40}}),
    "unknown settings": lambda shape: json.dumps(shape | {"settings": {"height": 3}}),
    "no table": lambda shape: "[1]",
}


@every_network
@pytest.mark.parametrize("how", DAMAGES)
def test_a_stranger_s_network_is_refused_with_a_sentence(name: str, how: str, tmp_path: Path) -> None:
    build(name).save(tmp_path)
    assert load(name, tmp_path).network.items.num_embeddings == N
    path = tmp_path / "network.json"
    path.write_text(DAMAGES[how](json.loads(path.read_text("utf-8"))), "utf-8")
    with pytest.raises(ArtifactError, match=rf"holds no {name} of {N} items .*run the recipe again"):
        load(name, tmp_path)
    build(name).save(tmp_path)
    (tmp_path / WEIGHTS_FILE).write_bytes(b"garbage")
    with pytest.raises(ArtifactError, match=rf"holds no {name}"):
        load(name, tmp_path)
