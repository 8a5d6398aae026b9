"""Laws of what is within every next-item network: it sees no future, no neighbour and nothing that is hidden."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.circle import (
    CircleInputs,
    N,
    build_attributes,
    choose_settings,
    fit_system,
    load_system,
    rank_last_training_items,
)
from tests.support.histories import histories
from trialigngr.catalog.histories import Histories
from trialigngr.catalog.item_attributes import ItemAttributes
from trialigngr.catalog.queries import Queries
from trialigngr.foundation.errors import ArtifactError, CatalogError, RecipeError, TriAlignError
from trialigngr.metrics.ranks import hit_rate
from trialigngr.sequential.attributes import AttributeVectors
from trialigngr.sequential.batches import HistoryPieces, SequenceBatch, TrainingBatch
from trialigngr.sequential.bert4rec import Bert4Rec
from trialigngr.sequential.caser import Caser
from trialigngr.sequential.cloze import draw_segments
from trialigngr.sequential.fdsa import Fdsa
from trialigngr.sequential.gru4rec import Gru4Rec
from trialigngr.sequential.hgn import Hgn
from trialigngr.sequential.hstu import Hstu
from trialigngr.sequential.network import WEIGHTS_FILE, NetworkScorer, NextItemNetwork, load_item_vectors
from trialigngr.sequential.s3_rec import S3Rec
from trialigngr.sequential.sasrec import SasRec
from trialigngr.sequential.training import NextItemObjective, TrainingData
from trialigngr.systems.registry import SYSTEMS
from trialigngr.train.loop import Trainer

NETWORKS: dict[str, type[NextItemNetwork[Any]]] = {
    "gru4rec": Gru4Rec, "caser": Caser, "hgn": Hgn, "sasrec": SasRec, "bert4rec": Bert4Rec, "s3_rec": S3Rec,
    "fdsa": Fdsa, "hstu": Hstu,
}  # fmt: skip
CPU = torch.device("cpu")
every_network = pytest.mark.parametrize("name", list(NETWORKS))
every_forward_network = pytest.mark.parametrize("name", [name for name in NETWORKS if name != "bert4rec"])


def build(name: str, log: Histories | None = None, **changes: Any) -> NetworkScorer:
    """Return a network as it begins."""
    torch.manual_seed(0)
    log = histories(*[[1, 2, 3, 4]] * 3) if log is None else log
    data = TrainingData(log, N, log.list_targets("valid"), build_attributes())
    network = NETWORKS[name](choose_settings(name, **changes), data.measure_sizes())
    network.read_data(log, data.attributes)
    for parameter in network.parameters():
        # Beginnings are small, and differences below what is compared.
        torch.nn.init.normal_(parameter, std=0.3)
    return NetworkScorer(name, network, "cpu")


def ask(*rows: list[int], users: list[int] | None = None) -> Queries:
    asked = [np.array(history) for history in rows]
    times = [100_000 * np.arange(len(history)) for history in asked]
    return Queries(asked, None if users is None else np.array(users), times)


def encode(scorer: NetworkScorer, queries: Queries) -> torch.Tensor:
    """Return the states of all places."""
    found: torch.Tensor = scorer.network.eval()(SequenceBatch.from_queries(queries, CPU)[0])
    return found


@every_network
def test_a_score_depends_on_the_last_items_alone_and_not_on_the_batch(name: str) -> None:
    found, long = build(name), [row % N for row in range(10)]
    alone = found.score_items(ask(long[-6:]))
    np.testing.assert_allclose(alone, found.score_items(Queries(*_cut(ask(long)))), atol=1e-5)
    together = found.score_items(ask(long[:2], long[-6:], long[:5]))
    np.testing.assert_allclose(alone[0], together[1], atol=1e-4)


def _cut(queries: Queries) -> tuple[Any, Any, Any]:
    """Return queries whose times begin at 0 with the last six items, as those of a history of six do."""
    times = [rows - rows[-6] for rows in queries.times or ()]
    return queries.items, queries.users, times


@every_forward_network
def test_states_see_no_future(name: str) -> None:
    one, other = (encode(build(name), ask(rows)) for rows in ([1, 2, 3, 4], [1, 2, 9, 8]))
    torch.testing.assert_close(one[:, :2], other[:, :2])
    assert not torch.allclose(one[:, 2:], other[:, 2:])


def test_a_network_that_sees_both_sides_does_not_see_what_is_hidden() -> None:
    scorer = build("bert4rec", mask_ratio=0.4)
    seen = []
    for hidden in (5, 9):
        log = histories([1, 2, 3, 4, hidden, 0, 0], [7, hidden, 0, 0])
        batch = build_batch(scorer.network, log)
        torch.manual_seed(3)
        shown = scorer.network.hide_targets(batch)
        assert hidden in shown.targets_M
        assert hidden not in shown.inputs.items_BT, "of both histories the last item is hidden"
        seen.append(scorer.network.eval()(shown.inputs))
    torch.testing.assert_close(*seen)


def build_batch(network: NextItemNetwork[Any], log: Histories) -> TrainingBatch:
    pieces = HistoryPieces.from_histories(log, network.piece_length)
    return network.build_batch(pieces, np.arange(len(pieces)), 0)


@every_network
def test_what_stands_beside_a_history_in_a_batch_changes_no_state(name: str) -> None:
    """A state in a training batch, packed or padded, is that of the history alone."""
    rows = [1, 2, 3, 4, 0, 0], [5, 6, 0, 0], [7, 8, 9, 0, 0], [3, 1, 4, 1, 5, 9, 2, 0, 0]
    log = replace(histories(*rows), times=100_000 * np.arange(sum(map(len, rows))))
    scorer = build(name, log)
    network = scorer.network.eval()
    batch = build_batch(network, log)
    if name == "bert4rec":
        assert batch.inputs.items_BT.shape == (3, 7), "4 and 2 items fill a row"
    elif network.packs_histories:
        # 3, 1 and 2 inputs fill a row of 6, 6 the next; a row of windows holds them all.
        assert batch.inputs.items_BT.shape == ((1, 50) if name in {"caser", "hgn"} else (2, 6))
    states_BTD = network(batch.inputs)
    for user in range(len(log)):
        own_BT = batch.inputs.users_BT == user
        shown = Queries([log.train_sequence(user)[: int(own_BT.sum())]], np.array([user]), [_times(log, user, own_BT)])
        torch.testing.assert_close(states_BTD[own_BT], encode(scorer, shown)[0], atol=1e-4, rtol=1e-4)


def _times(log: Histories, user: int, own_BT: torch.Tensor) -> Any:
    times = log.user_times(user)
    assert times is not None
    return times[: int(own_BT.sum())]


@pytest.mark.parametrize(("name", "num_targets"), [("caser", 1), ("caser", 3), ("hgn", 2), ("sasrec", 1)])
def test_targets_are_the_items_that_follow(name: str, num_targets: int) -> None:
    log = histories([1, 2, 3, 4, 5, 0, 0], [6, 7, 0, 0], [8, 9, 10, 11, 0, 0])
    batch = build_batch(build(name, num_targets=num_targets).network, log)
    inputs_M = batch.inputs.items_BT.flatten()[batch.places_M]
    found = sorted(zip(inputs_M.tolist(), batch.targets_M.tolist(), strict=True))
    assert found == sorted(
        (int(rows[place]), int(rows[place + ahead]))
        for rows in log.train_sequences()
        for place in range(len(rows))
        for ahead in range(1, num_targets + 1)
        if place + ahead < len(rows)
    )


def test_every_step_of_a_long_history_is_a_target_once() -> None:
    pieces = HistoryPieces.from_histories(histories(list(range(20))), 6)
    batch = pieces.build_next_batch(np.arange(len(pieces)), 0, packs=True)
    assert sorted(batch.targets_M.tolist()) == list(range(1, 18))
    assert batch.inputs.items_BT.shape[1] == 6


@pytest.mark.parametrize("name", ["caser", "hgn"])
def test_a_stranger_gets_the_mean_of_those_that_are_known(name: str) -> None:
    log = histories([1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3])  # user 2 trains nothing
    found, rows = build(name, log), [1, 2]
    stranger, beyond, untrained, own = found.score_items(ask(rows, rows, rows, rows, users=[-1, 77, 2, 1]))
    np.testing.assert_allclose(stranger, beyond)
    np.testing.assert_allclose(stranger, untrained)
    assert not np.allclose(stranger, own)
    with torch.no_grad():
        table = found.network.get_parameter("users.vectors.weight")
        table[1] = table[:2].mean(0)
    np.testing.assert_allclose(found.score_items(ask(rows, users=[1]))[0], stranger, atol=1e-5)


def test_times_count_for_hstu_and_none_are_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = build("hstu")
    near, far = ask([1, 2, 3]), replace(ask([1, 2, 3]), times=[np.array([0, 10, 10_000_000])])
    assert not np.allclose(found.score_items(near), found.score_items(far))
    assert np.isfinite(found.score_items(replace(near, times=None))).all()
    inputs = CircleInputs()
    fit_system("hstu", tmp_path, replace(inputs, histories=replace(inputs.histories, times=None)), epochs=1)
    assert capsys.readouterr().err.count("hstu: the log has no timestamps") == 1


@pytest.mark.parametrize("name", ["s3_rec", "fdsa"])
def test_attributes_count(name: str) -> None:
    found = build(name)
    item, attributes = torch.tensor([3, N - 1]), found.network.get_submodule("attributes")
    assert isinstance(attributes, AttributeVectors)
    marks = attributes.mark_attributes(item)
    np.testing.assert_array_equal(marks.numpy(), build_attributes().to_multi_hot(item.numpy()))
    assert not marks[1].any()
    assert np.isfinite(found.score_items(ask([N - 1], [3, N - 1]))).all()
    empty = build_attributes()
    nothing = ItemAttributes(empty.offsets[:0], empty.numbers[:0], empty.vocabulary.head(0))
    with pytest.raises(CatalogError, match="needs brands or categories, and this data has none"):
        SYSTEMS[name].check_data(CircleInputs(item_attributes=nothing))


def test_stretches_are_within_their_histories() -> None:
    log = histories([1, 2, 3, 4, 5, 6, 0, 0], [1, 2, 0, 0], [1, 2, 3, 0, 0])
    pieces = HistoryPieces.from_histories(log, 6)
    batch = pieces.build_whole_batch(np.arange(3), 0)
    widths: list[set[int]] = [set(), set(), set()]
    for seed in range(60):
        torch.manual_seed(seed)
        is_inside_M, last_U = draw_segments(batch)
        assert batch.inputs.items_BT.flatten()[last_U].tolist() == [6, 2, 3]
        for line, own_T in enumerate(is_inside_M.split([6, 2, 3])):
            widths[line].add(int(own_T.sum()))
            assert own_T.int().diff().abs().sum() <= 2, "in one stretch"
    assert widths == [{1, 2, 3}, {1}, {1}]


@pytest.mark.parametrize("name", ["sasrec", "hgn", "caser", "hstu"])
@pytest.mark.parametrize("loss", ["sampled_softmax", "bce", "bpr"])
def test_every_loss_learns(name: str, loss: str, tmp_path: Path) -> None:
    inputs = CircleInputs()
    fit_system(name, tmp_path, inputs, loss=loss, num_negatives=16, num_targets=1, epochs=30)
    ranks = rank_last_training_items(load_system(name, tmp_path, inputs), inputs.histories)
    assert hit_rate(ranks, 1).mean() > 0.9


@every_network
def test_what_is_written(name: str, tmp_path: Path) -> None:
    facts = fit_system(name, tmp_path, CircleInputs(), epochs=1, pretrain_epochs=1)
    assert facts["best_epoch"] == facts["epochs"] == 1
    files = ["metrics.jsonl", "network.json", "network.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    assert load_item_vectors(tmp_path).shape[1] == 16


@every_network
def test_a_loss_that_is_no_number_stops_with_a_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(TriAlignError, match=rf"{name}.*is not a number at step .*lower {name}\.learning_rate"):
        fit_system(name, tmp_path, CircleInputs(), learning_rate=1e30)


def test_scores_that_are_no_numbers_are_a_sentence(tmp_path: Path) -> None:
    """The first step is the last before a validation, so no loss tells it."""
    with pytest.raises(TriAlignError, match=r"sasrec gave a score that is not a number; .*lower sasrec\.learning_rate"):
        fit_system("sasrec", tmp_path, CircleInputs(), learning_rate=1e30, batch_size=100)


@pytest.mark.parametrize("name", ["sasrec", "caser"])
def test_a_loss_that_is_no_number_leaves_the_last_good_checkpoint(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few: dict[str, Any] = {"epochs": 3, "pretrain_epochs": 0}
    monkeypatch.setattr(Trainer, "_checkpoint_is_due", lambda *_: True)
    fit_system(name, tmp_path / "whole", CircleInputs(), **few)
    compute_losses, steps = NextItemObjective.iter_micro_losses, list[int]()

    def poison_a_step(self: Any, batch: TrainingBatch) -> Any:
        steps.append(batch.number)
        return (loss * (math.nan if batch.number == 5 else 1) for loss in compute_losses(self, batch))

    with monkeypatch.context() as poisoned:
        poisoned.setattr(NextItemObjective, "iter_micro_losses", poison_a_step)
        with pytest.raises(TriAlignError, match=r"not a number at step 5\. The last good checkpoint stays"):
            fit_system(name, tmp_path / "broken", CircleInputs(), **few)
        steps.clear()
        with pytest.raises(TriAlignError, match="not a number at step 5"):
            fit_system(name, tmp_path / "broken", CircleInputs(), **few)
        assert steps == [5], "nothing before is learned again"
    fit_system(name, tmp_path / "broken", CircleInputs(), **few)
    assert (tmp_path / "broken" / WEIGHTS_FILE).read_bytes() == (tmp_path / "whole" / WEIGHTS_FILE).read_bytes()


@pytest.mark.parametrize("name", ["caser", "hgn"])
def test_histories_shorter_than_the_window_are_learned_and_answered(name: str, tmp_path: Path) -> None:
    inputs = CircleInputs()
    fit_system(name, tmp_path, inputs, max_history=12)  # the longest training part has 11 items
    system = load_system(name, tmp_path, inputs)
    assert hit_rate(rank_last_training_items(system, inputs.histories), 1).mean() > 0.9
    assert np.isfinite(system.rank(ask([5], [3, 4]), N).scores_BK).all()


def test_histories_of_one_item_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no user has two items in the training part"):
        fit_system("gru4rec", tmp_path, CircleInputs(histories([1, 2, 3], [4, 5, 6])))


@pytest.mark.parametrize("name", ["sasrec", "bert4rec", "s3_rec", "fdsa", "hstu"])
def test_heads_that_do_not_fit_are_a_sentence(name: str) -> None:
    with pytest.raises(RecipeError, match=rf"{name}\.hidden_size = 8 cannot be shared by 3 heads"):
        build(name, hidden_size=8, num_heads=3)


@every_network
def test_nothing_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds no network\.json"):
        load_system(name, tmp_path, CircleInputs())


DAMAGES: dict[str, Callable[[dict[str, Any]], str]] = {
    "no JSON": lambda shape: "{",
    "no sizes": lambda shape: json.dumps({"settings": shape["settings"]}),
    "another catalogue": lambda shape: json.dumps(shape | {"sizes": shape["sizes"] | {"num_items": N + 1}}),
    "another size": lambda shape: json.dumps(shape | {"settings": shape["settings"] | {"hidden_size": 1 << 40}}),
    "unknown settings": lambda shape: json.dumps(shape | {"settings": {"height": 3}}),
    "no table": lambda shape: "[1]",
}


@every_network
@pytest.mark.parametrize("how", DAMAGES)
def test_a_stranger_s_network_is_refused_with_a_sentence(name: str, how: str, tmp_path: Path) -> None:
    inputs = CircleInputs()
    build(name).save(tmp_path)
    load_system(name, tmp_path, inputs)
    path = tmp_path / "network.json"
    path.write_text(DAMAGES[how](json.loads(path.read_text("utf-8"))), "utf-8")
    with pytest.raises(ArtifactError, match=rf"holds no {name} of {N} items .*run the recipe again"):
        load_system(name, tmp_path, inputs)
    build(name).save(tmp_path)
    (tmp_path / WEIGHTS_FILE).write_bytes(b"garbage")
    with pytest.raises(ArtifactError, match=rf"holds no {name}"):
        load_system(name, tmp_path, inputs)
