"""Every file of a finished run, damaged in every way: a sentence that names the file, or nothing that anybody would
notice; and what the sentence advises helps."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.support.commands import Done, trialigngr
from tests.support.long import mark_long
from tests.support.runs import linked, new_items, tiny
from trialigngr.foundation.artifact import FORMAT_VERSION, read_manifest
from trialigngr.pipeline import add_items

Cli = Callable[..., Done]
RECIPE = "trialigngr-demo"


def flipped(body: bytes) -> bytes:
    """Change one byte in the middle."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "deleted": lambda _: None,
    "emptied": lambda _: b"",
    "cut": lambda body: body[: len(body) // 2],
    "one byte": flipped,
    "garbage": lambda body: os.urandom(len(body)),
}


def damage(path: Path, how: str) -> None:
    """Damage a file that may be a hard link to that of another run."""
    body = DAMAGES[how](path.read_bytes())
    path.unlink()
    if body is not None:
        path.write_bytes(body)


def uses(run: Path) -> list[list[str | Path]]:
    return [
        ["recommend", run, "--history", "p0003,new_p0001", "-k", "5"],
        ["recommend", run, "--history", "p0003", "-k", "5", "--system", "counts"],
        ["recommend", run, "--history", "p0003", "-k", "5", "--system", "popularity"],
        ["evaluate", run, "--metrics", "HR@5,Coverage@7"],
        ["enrich", "show", run, "p0003"],
    ]


@pytest.fixture(scope="module")
def whole(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run with appended items and withdrawn ones."""
    folder = tmp_path_factory.mktemp("whole")
    run = Path(shutil.copytree(tiny_run, folder / "run"))
    add_items.append_items(run, new_items(run, folder / "new", 4))
    add_items.withdraw_items(run, ["p0008", "new_p0002"], free_sids=False)
    return run


@pytest.fixture(scope="module")
def answers(whole: Path) -> list[str]:
    done = [trialigngr(*words) for words in uses(whole)]
    assert {one.code for one in done} == {0}, done
    return [one.out.replace(str(whole), "RUN") for one in done]


def files() -> Iterator[str]:
    """Yield what stands in a run and is read when it is used, by pattern."""
    yield from ("recipe.toml", "metrics.json", "withdrawn.json", "sids.parquet", "recommendations.parquet")
    stages = ("catalog", "captions", "interests", "embeddings", "sids", "model", "counts", "popularity")
    stages = (*stages, "evaluation")
    yield from (f"{stage}/*" for stage in stages)
    yield from (f"appended/*/{stage}/*" for stage in ("catalog", "captions", "sids"))
    yield "appended/*/batch.json"


@pytest.mark.parametrize("how", mark_long(DAMAGES, but=("deleted", "one byte")))
@pytest.mark.parametrize("pattern", [*files()])
def test_damage_is_told_or_changes_nothing(
    whole: Path, answers: list[str], tmp_path: Path, pattern: str, how: str
) -> None:
    for name in sorted(path.relative_to(whole).as_posix() for path in whole.glob(pattern)):
        run = linked(whole, tmp_path / "run")
        damage(run / name, how)
        for words, answer in zip(uses(run), answers, strict=True):
            done = trialigngr(*words)
            assert done.code in (0, 2), (name, how, words)
            if done.code == 0:
                assert done.out.replace(str(run), "RUN") == answer, (name, how, words)
                continue
            error = done.err.splitlines()[-1]
            assert error.startswith("Error: "), (name, how)
            assert Path(name).name in error or "manifest.json" in error, (name, how, error)
        shutil.rmtree(run)


@pytest.mark.parametrize("name", ["model/model.safetensors", "catalog/histories.parquet", "sids/manifest.json",
                                  "evaluation/lists.parquet", "captions/captions.parquet"])  # fmt: skip
def test_what_is_advised_helps(tiny_run: Path, tmp_path: Path, cli: Cli, name: str) -> None:
    run = linked(tiny_run, tmp_path / "run")
    damage(run / name, "garbage")
    stage = (run / name).parent
    again = ["run", RECIPE, "--out", run, *tiny()]
    done = cli(*again)
    advised = re.search(r"delete (\S+) and run the recipe again", done.err)
    assert (done.code, advised and advised[1]) == (2, str(stage)), done.err
    shutil.rmtree(stage)
    done = cli(*again)
    assert done.code == 0, done.err
    assert done.err.count("unchanged, kept") == 9, "the others are as they were, as it came out the same"
    assert (run / name).read_bytes() == (tiny_run / name).read_bytes() or name.endswith("manifest.json")
    assert (run / "metrics.json").read_bytes() == (tiny_run / "metrics.json").read_bytes()


@pytest.mark.parametrize("name", ["metrics.json", "recipe.toml", "sids.parquet", "recommendations.parquet"])
@pytest.mark.parametrize("how", ["deleted", "garbage"])
def test_what_stands_at_the_top_is_written_anew(tiny_run: Path, tmp_path: Path, cli: Cli, name: str, how: str) -> None:
    run = linked(tiny_run, tmp_path / "run")
    damage(run / name, how)
    done = cli("run", RECIPE, "--out", run, *tiny())
    assert done.code == 0, done.err
    found, wanted = ((folder / name).read_bytes().split(b"\n", 1)[-1] for folder in (run, tiny_run))
    assert found == wanted, "but for recipe.toml's first line, which names the folder"


def test_a_damaged_stage_of_a_batch_is_made_again_by_appending(whole: Path, tmp_path: Path, cli: Cli) -> None:
    run, new = linked(whole, tmp_path / "run"), whole.parent / "new"
    before = pl.read_parquet(run / "sids.parquet")
    (batch,) = (run / "appended").iterdir()
    for stage in ("sids", "captions"):
        shutil.rmtree(batch / stage)
        done = cli("recommend", run, "--history", "p0003")
        assert (done.code, str(batch) in done.err, "append its items" in done.err) == (2, True, True), done.err
        done = cli("sids", "append", run, new)
        assert done.code == 0, done.err
        assert pl.read_parquet(run / "sids.parquet").equals(before), "no published SID moves"
    damage(batch / "embeddings" / "manifest.json", "one byte")
    done = cli("sids", "append", run, new)
    assert f"delete {batch / 'embeddings'} and append its items again" in done.err
    shutil.rmtree(batch / "embeddings")
    assert cli("sids", "append", run, new).code == 0


def test_lost_withdrawals_are_told(whole: Path, tmp_path: Path, cli: Cli) -> None:
    run = linked(whole, tmp_path / "run")
    (run / "withdrawn.json").unlink()
    done = cli("recommend", run, "--history", "p0003")
    assert (done.code, "withdrawn.json is missing" in done.err) == (2, True)
    (run / "sids.parquet").unlink()
    assert cli("recommend", run, "--history", "p0003").code == 0
    assert cli("sids", "remove", run, "p0008").code == 0


def test_a_recipe_that_was_changed_in_a_run_is_told(tiny_run: Path, tmp_path: Path, cli: Cli) -> None:
    run = linked(tiny_run, tmp_path / "run")
    assert "not as the run wrote it" not in cli("recommend", run, "--history", "p0003").err
    path = run / "recipe.toml"
    text = path.read_text("utf-8")
    path.unlink()
    path.write_text(text.replace("description = ", "description = 'Mine' #"), "utf-8")
    done = cli("recommend", run, "--history", "p0003")
    assert (done.code, "not as the run wrote it" in done.err) == (0, True)


def test_a_run_without_its_recipe_is_still_a_run(tiny_run: Path, tmp_path: Path, cli: Cli) -> None:
    run = linked(tiny_run, tmp_path / "run")
    (run / "recipe.toml").unlink()
    done = cli("recommend", run, "--history", "p0003")
    assert (done.code, "has lost its recipe.toml" in done.err) == (2, True)
    assert cli("run", RECIPE, "--out", run, *tiny()).code == 0
    assert cli("recommend", run, "--history", "p0003").code == 0


@pytest.mark.parametrize("damage", [lambda text: text[: text.index("]")], lambda text: text.replace("[ca", "[xa")])
def test_a_recipe_that_cannot_be_read_is_written_anew(
    tiny_run: Path, tmp_path: Path, cli: Cli, damage: Callable[[str], str]
) -> None:
    run = linked(tiny_run, tmp_path / "run")
    text = (run / "recipe.toml").read_text("utf-8")
    (run / "recipe.toml").unlink()
    (run / "recipe.toml").write_text(damage(text), "utf-8")
    done = cli("recommend", run, "--history", "p0003")
    assert done.code == 2
    assert f"write it anew: `trialigngr run RECIPE --out {run}`" in done.err
    assert cli("run", RECIPE, "--out", run, *tiny()).code == 0
    assert cli("recommend", run, "--history", "p0003").code == 0


def test_ls_goes_on_after_damaged_figures(tiny_run: Path, tmp_path: Path, cli: Cli) -> None:
    for name in ("a", "b"):
        linked(tiny_run, tmp_path / name)
    damage(tmp_path / "a" / "metrics.json", "one byte")
    done = cli("ls", tmp_path)
    assert done.code == 0
    assert ["is damaged" in line for line in done.out.splitlines()] == [True, False]


def test_an_earlier_format_is_refused_in_a_sentence(tiny_run: Path, tmp_path: Path, cli: Cli) -> None:
    run = linked(tiny_run, tmp_path / "run")
    path = run / "model" / "manifest.json"
    body = json.loads(path.read_text("utf-8"))
    path.unlink()
    old = {key: value for key, value in body.items() if key not in ("files", "content", "contents", "sha256")}
    path.write_text(json.dumps(old | {"version": 1}), "utf-8")
    assert read_manifest(run / "sids").version == FORMAT_VERSION
    for words in (["recommend", run, "--history", "p0003"], ["evaluate", run], ["run", RECIPE, "--out", run, *tiny()]):
        done = cli(*words)
        assert (done.code, f"format version 1, this is version {FORMAT_VERSION}" in done.err) == (2, True)
