"""`tune`: what it tries, what it keeps, what it never looks at, and what it refuses before anything is trained."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.commands import Done
from tests.support.runs import tiny
from trialigngr.evaluate.system import compute_ranks
from trialigngr.foundation.artifact import read_manifest
from trialigngr.foundation.errors import RecipeError
from trialigngr.recipes.recipe import read_recipe
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.studies import tune as module
from trialigngr.studies.tune import Trial, TuningSearch, format_trials, sort_trials, tune_recipe
from trialigngr.systems.registry import SYSTEMS
from trialigngr.train.loop import Trainer

Cli = Callable[..., Done]
SMALL = ("sasrec.epochs=3", "sasrec.hidden_size=8", "sasrec.max_history=8", "sasrec.validate_users=30")
OVER = ("sasrec.dropout=[0.1, 0.5]", "sasrec.learning_rate=[1e-3, 1e-2, 1e-4]")


def searched(tiny_run: Path, out: Path, **words: Any) -> list[Trial]:
    search = TuningSearch("trialigngr-demo", words.pop("search_space", OVER), SMALL, **words)
    return tune_recipe(search, tiny_run / "shop", out)


def names(out: Path) -> set[str]:
    return {path.name for path in (out / "run").iterdir() if path.name != ".lock"}


def read_trials(out: Path) -> dict[str, Any]:
    """Return the trials of a search by fingerprint."""
    found = json.loads((out / "trials.json").read_text("utf-8"))
    return {key: trial for key, trial in found.items() if key not in {"sha256", "budget"}}


def test_the_best_is_a_recipe_and_only_sasrec_was_trained(tiny_run: Path, tmp_path: Path) -> None:
    found = searched(tiny_run, tmp_path / "s", num_trials=3)
    assert len(found) == 4
    assert () in [trial.changes for trial in found], "the recipe as it is comes along"
    assert [trial.score for trial in found] == sorted((trial.score or 0 for trial in found), reverse=True)
    assert names(tmp_path / "s") == {"recipe.toml", "catalog", "sasrec"}, "nothing was tested, no model was trained"
    best = read_recipe(str(tmp_path / "s" / "best.toml"))
    as_named = read_recipe("trialigngr-demo", (*SMALL, *found[0].changes))
    assert best.sasrec == as_named.sasrec
    assert "sasrec" in best.evaluate.systems
    assert best.model_copy(update={"evaluate": as_named.evaluate}) == as_named
    first_line = (tmp_path / "s" / "best.toml").read_text("utf-8").splitlines()[0]
    assert first_line.startswith("# Best of 4 trials by random search, seed 0, ")
    budget = json.loads((tmp_path / "s" / "trials.json").read_text("utf-8"))["budget"]
    assert budget == {
        "sampler": "random", "seed": 0, "trials": 4, "seconds": round(sum(trial.seconds for trial in found), 1)
    }  # fmt: skip


def test_a_score_is_what_the_stage_itself_says(tiny_run: Path, tmp_path: Path) -> None:
    found = searched(tiny_run, tmp_path / "s", num_trials=1, search_space=("sasrec.dropout=[0.4]",))
    facts = read_manifest(tmp_path / "s" / "run" / "sasrec").facts
    assert facts["valid_ndcg_10"] == next(trial.score for trial in found if trial.changes)


def test_counts_are_searched_too_and_nothing_is_trained(tiny_run: Path, tmp_path: Path) -> None:
    found = tune_recipe(
        TuningSearch("trialigngr-demo", ("counts.window_size=[1, 6]",)), tiny_run / "shop", tmp_path / "s"
    )
    assert names(tmp_path / "s") == {"recipe.toml", "catalog", "counts"}
    assert {trial.changes for trial in found} == {
        (),
        ("counts.window_size=1",),
        ("counts.window_size=6",),
    }
    assert len({trial.score for trial in found}) == 3
    best = read_recipe(str(tmp_path / "s" / "best.toml"))
    own = RunArtifacts(best, tiny_run)
    targets = own.histories.list_targets("valid")
    SYSTEMS["counts"].fit(own, best.get_system_settings("counts"), tmp_path)
    ranker = SYSTEMS["counts"].load(own, tmp_path).scorer
    ahead = compute_ranks(ranker, own.histories, targets, mask_seen=False).ahead_M
    assert found[0].score == pytest.approx(sum(1 / np.log2(ahead[ahead < 10] + 2)) / len(targets), rel=0.05)  # ties


def test_a_search_that_was_killed_goes_on(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = searched(tiny_run, tmp_path / "whole", num_trials=3)
    train_step, done = Trainer.train_step, []

    def breaks(*words: Any) -> float:
        done.append(1)
        if len(done) == 2 * steps + 2:
            raise KeyboardInterrupt
        return train_step(*words)

    steps = json.loads((tmp_path / "whole" / "run" / "sasrec" / "manifest.json").read_text("utf-8"))["facts"]["steps"]
    with monkeypatch.context() as broken:
        broken.setattr(Trainer, "train_step", breaks)
        with pytest.raises(KeyboardInterrupt):
            searched(tiny_run, tmp_path / "broken", num_trials=3)
    assert len(read_trials(tmp_path / "broken")) == 2
    done.clear()
    again = searched(tiny_run, tmp_path / "broken", num_trials=3)
    assert [(trial.changes, trial.score) for trial in again] == [(trial.changes, trial.score) for trial in whole]


def test_more_trials_begin_with_those_there_are(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = searched(tiny_run, tmp_path / "s", num_trials=2)
    made: list[tuple[str, ...]] = []
    make = module._make_trial
    monkeypatch.setattr(module, "_make_trial", lambda tried, *rest: (made.append(tried), make(tried, *rest))[1])
    all_of_them = searched(tiny_run, tmp_path / "s", num_trials=99)
    assert len(all_of_them) == 7, "six combinations and the recipe as it is"
    assert set(made) == {trial.changes for trial in all_of_them} - {trial.changes for trial in few}


def test_the_language_model_can_be_tuned(tiny_run: Path, tmp_path: Path, cli: Cli) -> None:
    words = tiny(train__max_steps=4)
    done = cli(
        "tune", "trialigngr-demo", "--data", tiny_run / "shop", "--out", tmp_path / "s", *words,
        "--over", "model.num_heads=[1, 3]",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "test targets were not looked at" in done.out
    assert "failed         0  model.num_heads=3: model.hidden_size = 32 cannot be shared" in done.out, (
        "ends one trial alone"
    )
    assert {"model", "sids"} <= names(tmp_path / "s")
    assert "evaluation" not in names(tmp_path / "s")
    assert len(read_trials(tmp_path / "s")) == 2, "a failure is not kept"


def test_a_failed_trial_is_last() -> None:
    found = sort_trials([Trial(("a",), None, error="why"), Trial(("b",), 0.1), Trial(("c",), 0.2), Trial((), 0.2)])
    assert [trial.changes for trial in found] == [("c",), (), ("b",), ("a",)]
    table = format_trials(found, TuningSearch("trialigngr-demo", OVER)).splitlines()
    assert table[-3].endswith("a: why")
    assert table[-1] == "Budget: 4 trials by random search, seed 0, 0 s."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--over", "sasrec.dropout"), "not of the form a.b=[value, value]"),
        (("--over", "sasrec.dropout=0.3"), "not of the form a.b=[value, value]"),
        (("--over", "sasrec.dropout=[]"), "not of the form a.b=[value, value]"),
        (("--over", "sasrec.dropuot=[0.3]"), "Did you mean 'dropout'"),
        (("--over", "sasrek.dropout=[0.3]"), "Did you mean 'sasrec'"),
        (("--over", "sasrec.dropout=[0.3, 7]", "--sampler", "tpe"), "sasrec.dropout = 7 does not fit"),
        (("--over", "sasrec.dropout=[0.3]", "--sampler", "tpf"), "'tpf' is not one of"),
        (("--over", "sasrec.dropout=[0.3, 7]"), "sasrec.dropout = 7 does not fit"),
        (("--over", "sasrec.dropout=[0.3]", "--trials", "0"), "try at least one"),
        (("--over", "sasrec.dropout=[0.3]", "--over", f"seed={list(range(100_001))}"), "100,000 combinations"),
    ],
)
def test_bad_input(tmp_path: Path, cli: Cli, words: tuple[str, ...], said: str) -> None:
    done = cli("tune", "trialigngr-demo", "--out", tmp_path / "s", *words)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "s").exists()


def test_a_width_that_heads_cannot_share(tiny_run: Path, tmp_path: Path) -> None:
    found = searched(tiny_run, tmp_path / "s", search_space=("sasrec.num_heads=[3]",))
    assert found[-1].error.startswith("sasrec.hidden_size = 8 cannot be shared by 3 heads")


def test_what_fails_as_the_recipe_is_stops_the_search(tmp_path: Path, cli: Cli) -> None:
    words = ("--data", tmp_path / "nowhere", "--over", "sasrec.dropout=[0.3]")
    done = cli("tune", "trialigngr-demo", "--out", tmp_path / "s", *words)
    assert done.code == 2
    assert "nowhere" in done.err
    wrong = cli("tune", "trialigngr-demo", "--out", tmp_path / "t", *tiny(sasrec__num_heads=3), *words[2:])
    assert (wrong.code, "cannot be shared by 3 heads" in wrong.err) == (2, True)


COUNTS = ("counts.decay=[0.2, 0.4, 0.6, 0.8, 1.0]", "counts.backward_weight=[0.0, 0.5, 1.0]")


def test_tpe_goes_by_scores_and_goes_on_after_a_kill(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: Any = {"search_space": COUNTS, "num_trials": 13, "sampler_name": "tpe", "seed": 5}
    whole = searched(tiny_run, tmp_path / "whole", **words)
    assert len({trial.changes for trial in whole}) == 14
    make, made = module._make_trial, list[int]()

    def breaks(*given: Any) -> Trial:
        made.append(1)
        if len(made) == 12:  # by now the sampler goes by scores
            raise KeyboardInterrupt
        return make(*given)

    with monkeypatch.context() as broken:
        broken.setattr(module, "_make_trial", breaks)
        with pytest.raises(KeyboardInterrupt):
            searched(tiny_run, tmp_path / "broken", **words)
    again = searched(tiny_run, tmp_path / "broken", **words)
    assert [(trial.changes, trial.score) for trial in again] == [(trial.changes, trial.score) for trial in whole]


def test_a_combination_that_does_not_fit_ends_its_own_trial_alone(tiny_run: Path, tmp_path: Path) -> None:
    """TPE's combinations are not known beforehand; each value is checked in one of them."""
    over = ("train.batch_size=[8, 16]", "train.micro_batch_tokens=[1024, 2048]")
    search = TuningSearch("trialigngr-demo", over, num_trials=4, sampler_name="tpe")
    read, asked = TuningSearch.read_trial_recipe, list[tuple[str, ...]]()

    def refuse_one(self: TuningSearch, changes: tuple[str, ...]) -> Any:
        asked.append(changes)
        if changes == ("train.batch_size=8", "train.micro_batch_tokens=2048"):
            raise RecipeError("these two do not go together")
        return read(self, changes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TuningSearch, "read_trial_recipe", refuse_one)
        patch.setattr(module, "_build_trial_stages", lambda *_: pytest.fail("is trained"))
        search.build_sampler()
        assert asked == [(), *search.space.cover_values()]
        one = module._run_trial(search, ("train.batch_size=8", "train.micro_batch_tokens=2048"), None, tmp_path)
    assert (one.score, one.error) == (None, "these two do not go together")


def test_tpe_without_optuna_says_what_to_install(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    words = ("--out", tmp_path / "s", "--over", "sasrec.dropout=[0.3]")
    done = cli("tune", "trialigngr-demo", *words, "--sampler", "tpe")
    assert (done.code, "needs optuna; install it with: pip install 'trialigngr[tune]'" in done.err) == (2, True)
    assert not (tmp_path / "s").exists()


VALUES = {
    "counts": "decay=[0.3]", "item_knn": "shrinkage=[3.0]",
    "ease": "l2_weight=[7.0]", "sasrec_counts": "mixing_weight=[0.1]",
}  # fmt: skip
SEARCHED = [spec.name for spec in SYSTEMS.values() if spec.settings is not None]


@pytest.mark.parametrize("name", SEARCHED)
def test_every_system_is_searched_alone(name: str, tiny_run: Path, tmp_path: Path) -> None:
    """Only its own stage is made, and those that it needs: never the language model."""
    network = "sasrec" if name == "sasrec_counts" else name
    changes = [f"{network}.epochs=1", f"{network}.hidden_size=8"] if network not in VALUES else []
    changes += [f"{name}.pretrain_epochs=1"] if name == "s3_rec" else []
    over = f"{name}.{VALUES.get(name, 'dropout=[0.1]')}"
    found = tune_recipe(TuningSearch("trialigngr-demo", (over,), tuple(changes)), tiny_run / "shop", tmp_path / "s")
    assert len(found) == 2
    assert all(trial.score is not None for trial in found), found
    made = names(tmp_path / "s")
    assert made >= {"recipe.toml", *SYSTEMS[name].needs, name}
    assert "model" not in made
