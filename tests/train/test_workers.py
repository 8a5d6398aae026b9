"""Two processes train the model of one: same batches, same losses, same weights up to the order of a sum."""

from __future__ import annotations

import json
import multiprocessing
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support.forkserver import start_forkserver
from tests.support.toy import PAIRS, toy, train_as
from tests.support.world import World
from trialigngr.foundation.errors import RecipeError
from trialigngr.train.checkpoint import load_best
from trialigngr.train.process_group import ProcessGroup


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder where two gloo processes trained the toy."""
    folder = tmp_path_factory.mktemp("pair")
    usual = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    start_forkserver()
    both = [
        multiprocessing.get_context("forkserver").Process(
            target=train_as, args=(folder, {**usual, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        )
        for rank in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(900)
    assert [process.exitcode for process in both] == [0, 0]
    return folder


@pytest.mark.parametrize("name", list(PAIRS))
def test_two_processes_train_the_model_of_one(pair: Path, tmp_path: Path, name: str):
    alone = toy(dropout=0.0, max_steps=9, validate_every=3, **{**PAIRS[name], "fsdp": False})
    alone.fit(tmp_path)
    first, second = (load_file(pair / f"{name}-{rank}.safetensors") for rank in range(2))
    for key, value in alone.parameters.items():
        torch.testing.assert_close(first[key], alone.optimizer.state[value]["exp_avg"], rtol=1e-3, atol=1e-5)
        assert torch.equal(first[key], second[key])
    ours, theirs = (lines(folder) for folder in (tmp_path, pair / name))
    assert len(theirs) == len(ours) == 3
    for one, other in zip(ours, theirs, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert (one["step"], one["tokens"]) == (other["step"], other["tokens"])
        assert other["valid"]["NDCG@10"] == pytest.approx(one["valid"]["NDCG@10"], abs=1e-2)
    # What the first process kept is what one process keeps, and opens here.
    theirs, ours = (load_file(folder / "best.safetensors") for folder in (pair / name, tmp_path))
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4)
    load_best(pair / name, alone.model)
    theirs, ours = (load_file(only(folder) / "state.safetensors") for folder in (pair / name, tmp_path))
    assert {name: value.shape for name, value in theirs.items()} == {name: value.shape for name, value in ours.items()}


def only(folder: Path) -> Path:
    (checkpoint,) = folder.glob("checkpoint-*")
    return checkpoint


def test_shares_of_one_process_are_a_sentence():
    with pytest.raises(RecipeError, match=r"train\.fsdp shares the weights among processes.*torchrun"):
        toy(fsdp=True)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_every_sheet_is_somebody_s_and_tokens_are_shared_evenly():
    sheets = World().examples("titles_to_title").draw_batch(0, 0, 40)
    shares = [ProcessGroup(rank, 3).select_local_rows(sheets) for rank in range(3)]
    assert sorted(map(id, sheets)) == sorted(id(sheet) for share in shares for sheet in share)
    loads = [sum(map(len, share)) for share in shares]
    assert max(loads) - min(loads) <= max(map(len, sheets))
    assert ProcessGroup().select_local_rows(sheets) == sorted(sheets, key=len, reverse=True)
