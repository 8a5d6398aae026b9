"""Item ids on the command line: with commas, once an id, as JSON; ids that hold commas and outer blanks among them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Done
from trialigngr.cli.item_ids import read_item_ids

Cli = Callable[..., Done]
KNOWN = {"1", "2", "12", "a,b", " lead", "trail ", "c, d", "[x", '["y"]', ",", " "}


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (["1,2"], ["1", "2"]),
        ([" 1 , 2,"], ["1", "2"]),
        (["1", "2"], ["1", "2"]),
        (["a,b"], ["a,b"]),
        (["a,b", " lead", "1", "trail ", "c, d"], ["a,b", " lead", "1", "trail ", "c, d"]),
        ([" lead,1"], [" lead", "1"]),
        (['["a,b", " lead", "12"]', "1"], ["a,b", " lead", "12", "1"]),
        (["[1, 2]"], [1, 2]),
        (["[x"], ["[x"]),
        (["[x,1"], ["[x", "1"]),
        (['["y"]'], ['["y"]']),
        (['["[\\"y\\"]"]'], ['["y"]']),
        ([",", " "], [",", " "]),
        ([""], []),
        (["[]"], []),
        ([], []),
        (["[" * 100_000], ["[" * 100_000]),
        (["x,y"], ["x", "y"]),
    ],
)
def test_ids_as_they_are_given(values: list[str], ids: list[Any]) -> None:
    assert read_item_ids(values, KNOWN) == ids


def test_the_ways_to_give_a_list_are_one(cli: Cli, tiny_run: Path) -> None:
    def found(*words: str) -> list[str]:
        done = cli("recommend", tiny_run, "-k", 4, "--json", *words)
        assert done.code == 0, done.err
        return [item["item_id"] for item in json.loads(done.out)]

    history = found("--history", "p0003,p0017")
    assert found("--history", "p0003", "--history", "p0017") == history
    assert found("--history", '["p0003", "p0017"]') == history
    denied = found("--history", "p0003,p0017", "--deny", ",".join(history[:2]))
    assert found("--history", "p0003,p0017", "--deny", history[0], "--deny", history[1]) == denied
    only = found("--history", "p0003,p0017", "--only", json.dumps(history[1:3]))
    assert sorted(only) == sorted(history[1:3])
    assert found("--history", "p0003,p0017", "--only", history[1], "--only", history[2]) == only


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--history", '["p0003", null]'], "history[1] is None"),
        (["--history", '[["p0003"]]'], "history[0] is ['p0003']"),
        (["--history", "p0003", "--deny", "[1.5]"], "deny[0] is 1.5"),
        (["--history", "p0003", "--only", '["nobody"]'], "There is no item 'nobody'"),
        (["--history", "p0003", "--history", "nobody"], "There is no item 'nobody'"),
    ],
)
def test_lists_of_something_else(cli: Cli, tiny_run: Path, words: list[str], sentence: str) -> None:
    done = cli("recommend", tiny_run, *words)
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err
