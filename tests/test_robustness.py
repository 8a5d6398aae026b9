"""The attacks of `benchmarks.robustness`: each part on a few cases, and that it can tell a fault from what is right."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.attacks import damage, kills, pictures, replies, server, tables
from benchmarks.attacks.cases import Outcome, count_ends, read_outcomes, try_cases
from benchmarks.attacks.tables import all_cases
from tests.support.forkserver import start_forkserver
from tests.support.runs import tiny


@pytest.fixture(autouse=True, scope="module")
def forked() -> None:
    start_forkserver()


def behave(how: str) -> Outcome:
    """Do what the name of a case says."""
    match how:
        case "abort":
            import os

            os.abort()
        case "hang":
            time.sleep(60)
        case "raise":
            raise ValueError(how)
    return Outcome("fine")


def test_what_ends_a_process_is_counted_and_the_others_go_on(tmp_path: Path) -> None:
    cases = {how: how for how in ("a", "abort", "b", "raise", "hang", "c")}
    found = try_cases(behave, cases, tmp_path / "kept.jsonl", 3)
    ends = {"a": "fine", "b": "fine", "c": "fine", "abort": "abort", "raise": "traceback", "hang": "hang"}
    assert {name: outcome.end for name, outcome in found.items()} == ends
    assert list(found) == list(cases)
    assert count_ends("these", found, {"fine"})["fine"] == 3


def test_no_case_is_tried_twice(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_text('{"case": "raise", "end": "fine", "said": "before"}\n{"case": "a", "en', encoding="utf-8")
    assert try_cases(behave, {"raise": "raise"}, kept, 5) == {"raise": Outcome("fine", "before")}
    assert set(read_outcomes(kept)) == {"raise"}


def test_pictures(tmp_path: Path) -> None:
    cases = list(pictures.mutations(pictures.MUTATED))
    assert len({case.name for case in cases}) == pictures.MUTATED
    assert {case.form for case in cases} == set(pictures.sound_pictures())
    assert len(pictures.sound_pictures()) == 8
    assert pictures.mutated(cases[3]) == pictures.mutated(cases[3])
    for case in cases[:6]:
        assert pictures.meet(case).end in pictures.GOOD
    for kinds in pictures.sound_pictures().values():
        for body in kinds[:1]:
            (tmp_path / "whole").write_bytes(body)
            with Image.open(tmp_path / "whole") as image:
                assert image.size == (pictures.WIDTH, pictures.HEIGHT)


def test_tables() -> None:
    every = all_cases()
    cases = {case.name: case for case in every}
    assert len(cases) == len(every) >= tables.WANTED
    for form in ("csv", "parquet", "amazon2018 gzip", "recbole"):
        assert tables.meet(cases[f"{form}: sound"]) == Outcome("taken whole"), form
    assert tables.meet(cases["recbole: x.inter: field missing"]).end == "refused"
    lost = cases["csv: sound"]
    lost.files["interactions.csv"] = (lost.files["interactions.csv"] or b"")[:-20]
    assert tables.meet(lost).end == "silent"


def test_server(tmp_path: Path) -> None:
    assert len(replies.replies()) == 48
    server._make(tmp_path / "catalogue")
    assert server.meet(("usage null (4)", tmp_path / "catalogue")) == Outcome("went on")
    assert server.meet(("HTML", tmp_path / "catalogue")).end == "ended with a sentence"


@pytest.mark.parametrize(
    "text", [replies.KEY, replies.BASE64, replies.BEARER64, "k=sk-Ab1%2FcD2%2BeF3%3DgH4-iJ5%3FkL6"]
)
def test_a_key_is_found_in_every_guise(text: str) -> None:
    assert server.holds_key(f"no {text} here")
    assert not server.holds_key(f"no {text[:-6]} here")


def test_damage(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    damage._make(run)  # the run is there: only what the commands say of it is written down
    tried = [
        damage.Damage(run, "report.html", "garbage", "recommend"),
        damage.Damage(run, "sids.parquet", "delete", "evaluate"),
        damage.Damage(run, "model/model.safetensors", "delete", "recommend"),
    ]
    outcomes = try_cases(damage.meet, {case.file: case for case in tried}, tmp_path / "kept.jsonl", 60)
    ends = [outcome.end for outcome in outcomes.values()]
    assert ends[:2] == ["same", "same"]
    assert ends[2] in ("refused", "vague", "traceback")
    cases = list(damage.damages(run))
    assert {case.file for case in cases} == set(damage.files_of(run))
    asked = damage.remedies([(cases[0], Outcome("refused", "RUN/x/y is damaged; delete RUN/x and run again."))])
    assert [case.deleted for case in asked.values()] == [("RUN/x",)]


def killed_while_tested(chain: kills.Chain) -> Outcome:
    """Kill a tiny run of the tests, which has no SASRec."""
    kills.run_words = lambda run: ["run", "trialigngr-demo", "--out", str(run), *tiny()]
    kills.STAGES = tuple(stage for stage in kills.STAGES if stage != "sasrec")
    return kills.break_off(chain)


def test_kills(copied_run: Path, tiny_run: Path, tmp_path: Path) -> None:
    shutil.rmtree(copied_run / "evaluation")
    chain = kills.Chain(0, copied_run, tiny_run, ("evaluation", kills.FINISH))
    (found,) = try_cases(killed_while_tested, {"run": chain}, tmp_path / "kept.jsonl", 300).values()
    assert found.end == "same bytes", found.said
    assert found.said.startswith("2 kills")
