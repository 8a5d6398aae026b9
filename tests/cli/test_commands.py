"""Each command as it is typed: what it prints and how it exits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.support.commands import Done
from tests.support.runs import tiny
from trialigngr import __version__
from trialigngr.cli.main import COMMANDS
from trialigngr.foundation.artifact import record_files

Cli = Callable[..., Done]


def test_version_help_and_nothing(cli: Cli) -> None:
    assert cli("--version").out.strip().endswith(__version__)
    help_page = cli("--help")
    assert help_page.code == 0
    assert all(name in help_page.out for name in COMMANDS)
    assert "Usage" in (cli().out + cli().err)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: Cli, command: str) -> None:
    done = cli(command, "--help")
    assert done.code == 0
    assert f"Usage: trialigngr {command}" in done.out


@pytest.mark.parametrize("words", [["rum"], ["run"], ["run", "trialigngr-demo"], ["recommend", "--nothing"]])
def test_what_cannot_be_parsed(cli: Cli, words: list[str]) -> None:
    done = cli(*words)
    assert done.code == 2
    assert "Error: " in done.err
    assert "Traceback" not in done.err


def test_recommend_by_history(cli: Cli, tiny_run: Path) -> None:
    done = cli("recommend", tiny_run, "--history", " p0003, p0017,", "-k", 4, "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert [set(item) for item in found] == [{"item_id", "title", "score", "source", "sid", "score_parts"}] * 4
    table = cli("recommend", tiny_run, "--history", "p0003,p0017", "-k", 4)
    rows = [line.split(maxsplit=3) for line in table.out.splitlines()]
    assert [row[2] for row in rows] == [item["item_id"] for item in found]
    assert [row[3] for row in rows] == [item["title"] for item in found]
    assert [int(row[0]) for row in rows] == [1, 2, 3, 4]


def test_recommend_by_user(cli: Cli, tiny_run: Path) -> None:
    done = cli("recommend", tiny_run, "--user", "u00005", "--json")
    assert len(json.loads(done.out)) == 10
    seen = cli("recommend", tiny_run, "--user", "u00005", "--seen", "-k", 100, "--json")
    assert len(json.loads(seen.out)) > len(
        json.loads(cli("recommend", tiny_run, "--user", "u00005", "-k", 100, "--json").out)
    )


def test_fewer_than_asked_for_is_said(cli: Cli, tiny_run: Path) -> None:
    done = cli("recommend", tiny_run, "--history", "p0003", "-k", 100)
    assert "were asked for" in done.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--history", "p9999"], "There is no item 'p9999'"),
        (["--user", "u99999"], "There is no user 'u99999'"),
        (["--user", "u00005", "-k", "0"], "at least one"),
        (["--user", "u00005", "--history", "p0003"], "Give one of --user"),
        ([], "Give one of --user"),
    ],
)
def test_recommend_wrongly(cli: Cli, tiny_run: Path, words: list[str], sentence: str) -> None:
    done = cli("recommend", tiny_run, *words)
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err


def test_evaluate_runs_side_by_side(cli: Cli, tiny_run: Path, copied_run: Path) -> None:
    assert cli("run", "trialigngr-demo", "--out", copied_run, *tiny(train__max_steps=1)).code == 0
    done = cli("evaluate", tiny_run, copied_run)
    assert (done.code, done.err) == (0, "")
    figures = json.loads((tiny_run / "metrics.json").read_text("utf-8"))
    assert "leave-last-1" in done.out
    assert f"{figures['test']['HR@10']['value']:.4f}" in done.out
    table, differences = done.out.split("tiny minus")
    assert all(name in table for name in ("tiny", "run", "popularity", "HR@5", "NDCG@10"))
    difference = figures["differences"]["popularity"]["HR@10"]["value"]
    assert f"{difference:+.4f}" in differences
    assert cli("evaluate", tiny_run).code == 0


def test_evaluate_tells_runs_of_one_name_apart(cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one" / "run", tmp_path / "other" / "run"
    for folder in (one, other):
        shutil.copytree(tiny_run, folder)
    done = cli("evaluate", one, other, "--format", "json")
    assert done.code == 0
    assert str(one) in done.out
    assert str(other) in done.out


def test_evaluate_refuses_a_run_given_twice(cli: Cli, tiny_run: Path) -> None:
    done = cli("evaluate", tiny_run, tiny_run)
    assert done.code != 0
    assert "is given twice" in done.err


def test_evaluate_refuses_other_targets(cli: Cli, tiny_run: Path, copied_run: Path) -> None:
    ranks = copied_run / "evaluation" / "test.parquet"
    pl.read_parquet(ranks)[1:].write_parquet(ranks)
    record_files(ranks.parent)
    done = cli("evaluate", tiny_run, copied_run)
    assert done.code == 2
    assert "different targets" in done.err


def test_report_is_written_anew(cli: Cli, copied_run: Path) -> None:
    (copied_run / "report.html").unlink()
    done = cli("report", copied_run)
    assert done.out.strip() == str(copied_run / "report.html")
    assert (copied_run / "report.html").stat().st_size > 10_000


def test_ls(cli: Cli, copied_run: Path, tmp_path: Path) -> None:
    assert "no runs" in cli("ls", tmp_path / "nowhere").out
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "recipe.toml").write_text("")
    lines = cli("ls", tmp_path).out.splitlines()
    assert [line.split()[0] for line in lines] == ["begun", "run"]
    assert "not finished" in lines[0]
    assert "HR@10 0." in lines[1]
    assert " items, " in lines[1]
    assert "beams, constrained softmax" in lines[1]


def test_plan(cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    fresh = cli("plan", "trialigngr-demo", "--out", tmp_path / "new", *tiny()).out
    assert fresh.count("to do") == 10
    assert not (tmp_path / "new").exists()

    def states(*words: str | Path) -> list[str]:
        stages, _, training = cli("plan", "trialigngr-demo", "--out", tiny_run, *words).out.partition("\ntraining ")
        assert "parameters" in training
        return [line.split()[1] for line in stages.splitlines()]

    assert states(*tiny()) == ["done"] * 10
    changed = states(*tiny(sids__codebook_sizes=[4, 4]), "--seeds", "2")
    assert changed == [*["done"] * 5, *["changed"] * 2, *["done"] * 2, "changed", *["to"] * 2]


def test_show(cli: Cli) -> None:
    listed = cli("show").out
    assert "trialigngr-demo" in listed
    assert "Table 3" in listed
    whole = cli("show", "trialigngr-demo+t3-only", "--set", "train.epochs=7")
    assert 'use = [\n    "T3",\n]' in whole.out
    assert "epochs = 7" in whole.out
    wrong = cli("show", "trialigngr-dmo")
    assert wrong.code == 2
    assert "Did you mean 'trialigngr-demo'" in wrong.err


def test_draw_shop_and_run_on_it(cli: Cli, tmp_path: Path) -> None:
    done = cli("draw-shop", tmp_path / "shop", "--items", 20, "--shoppers", 30, "--seed", 3)
    assert done.out.strip() == f"{tmp_path / 'shop'}: 20 products, 30 shoppers"
    run = cli("run", "trialigngr-demo", "--data", tmp_path / "shop", "--out", tmp_path / "run", "--until", "catalog")
    assert run.code == 0, run.err
    assert "catalog: 30 users, 20 items" in run.err
    few = cli("draw-shop", tmp_path / "few", "--items", 3)
    assert few.code == 2
    assert "items = 3" in few.err


def test_import(cli: Cli, tmp_path: Path) -> None:
    source = tmp_path / "ml-latest-small"
    source.mkdir()
    (source / "movies.csv").write_text(
        "movieId,title,genres\n1,Toy Story (1995),Comedy|Children\n2,Heat (1995),Action\n"
    )
    (source / "ratings.csv").write_text("userId,movieId,rating,timestamp\n7,1,4.0,10\n7,2,3.5,20\n7,1,4.5,30\n")
    done = cli("import", "movielens", source, tmp_path / "data")
    assert done.code == 0
    assert "3 interactions" in done.err
    run = cli(
        "run", "trialigngr-demo", "--data", tmp_path / "data", "--out", tmp_path / "run", "--until", "catalog",
        "--set", "catalog.k_core=0",
    )  # fmt: skip
    assert "catalog: 1 users, 2 items, 3 interactions" in run.err
    wrong = cli("import", "movielen", source, tmp_path / "other")
    assert wrong.code == 2
    assert "Did you mean 'movielens'" in wrong.err
