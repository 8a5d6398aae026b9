"""Mistakes in settings become one sentence; seeds stay what they are; the console is quiet where nobody looks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from trialigngr.foundation.config import Settings, parse_settings
from trialigngr.foundation.console import show_progress, track_progress
from trialigngr.foundation.errors import RecipeError, did_you_mean
from trialigngr.foundation.seeds import derive_seed


class Inner(Settings):
    learning_rate: float = 0.1
    steps: int = 3


class Outer(Settings):
    train: Inner = Inner()
    sizes: tuple[int, ...] = ()


def test_did_you_mean():
    assert did_you_mean("learnin_rate", ["learning_rate", "steps"]) == " Did you mean 'learning_rate'?"
    assert did_you_mean("zzz", ["learning_rate", "steps"]) == ""


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"trian": {}}, "recipe x: there is no setting 'trian'. Did you mean 'train'?"),
        (
            {"train": {"learningrate": 1}},
            "recipe x: there is no setting 'train.learningrate'. Did you mean 'learning_rate'?",
        ),
        ({"train": {"qqq": 1}}, "recipe x: there is no setting 'train.qqq'."),
    ],
)
def test_unknown_settings_name_the_nearest(values: dict[str, object], sentence: str):
    with pytest.raises(RecipeError) as caught:
        parse_settings(Outer, values, "recipe x")
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"train": {"steps": "many"}}, ["train.steps = 'many' does not fit", "integer"]),
        ({"train": 3}, ["train = 3 does not fit"]),
        ({"sizes": [1, "b"]}, ["sizes.1 = 'b' does not fit"]),
    ],
)
def test_values_that_do_not_fit_are_named(values: dict[str, object], parts: list[str]):
    with pytest.raises(RecipeError) as caught:
        parse_settings(Outer, values, "recipe x")
    for part in ["recipe x: ", *parts]:
        assert part in str(caught.value)


def test_settings_are_frozen_and_checked():
    settings = parse_settings(Outer, {"train": {"steps": 5}}, "here")
    assert settings.train == Inner(steps=5)
    with pytest.raises(ValidationError, match="frozen"):
        settings.train = Inner()  # type: ignore[misc]
    assert settings.train.model_copy(update={"steps": 6}).steps == 6
    with pytest.raises(KeyError, match="Inner has no step"):
        settings.train.model_copy(update={"step": 6})


def test_help_texts_stand_under_the_fields():
    class Told(Settings):
        beams: int = 20
        """Beams kept."""

    assert Told.model_fields["beams"].description == "Beams kept."


def test_seeds_are_the_same_everywhere_and_for_ever():
    # A change here changes every trained model: the values are part of the format.
    assert derive_seed(0) == 3456079177858693020
    assert derive_seed(0, "mixture") == 1082599571921775892
    assert derive_seed(7, "step", 12) == 8962951959783446574


def test_seeds_differ_by_name_place_and_root():
    seeds = [
        derive_seed(0, "a"),
        derive_seed(1, "a"),
        derive_seed(0, "b"),
        derive_seed(0, "a", 1),
        derive_seed(0, "a", 2),
        derive_seed(0, "a1"),
        derive_seed(0),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 1 << 63 for seed in seeds)


def test_seeds_do_not_depend_on_the_process():
    code = "from trialigngr.foundation.seeds import derive_seed; print(derive_seed(3, 'x', 4))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(done.stdout) == derive_seed(3, "x", 4)


def test_quiet_when_not_a_terminal(capfd: pytest.CaptureFixture[str]):
    with show_progress("train", 10) as advance:
        advance(3, "note")
    assert list(track_progress([1, 2, 3], "count")) == [1, 2, 3]
    assert list(track_progress(iter([4, 5]), "count", total=2)) == [4, 5]
    assert capfd.readouterr() == ("", "")


def test_a_bar_with_an_eta_on_a_terminal():
    code = (
        "from trialigngr.foundation import console\n"
        "with console.show_progress('train', 10) as advance: advance(4, 'loss 1.5')\n"
    )
    terminal = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "120", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=terminal)
    for part in ("train", "4/10", "ETA", "loss 1.5"):
        assert part in done.stderr
    assert done.stdout == ""


def test_text_from_data_is_never_markup():
    code = "from trialigngr.foundation.console import log; log('a [red]title[/red] [link=x]')"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr == "a [red]title[/red] [link=x]\n"


def test_settings_that_were_recorded_before_some_existed() -> None:
    before = {"train": {"steps": 4}, "sizes": [1]}  # no learning rate yet
    assert Outer(train=Inner(steps=4), sizes=(1,)).is_recorded_as(before)
    assert not Outer(train=Inner(steps=4, learning_rate=0.2), sizes=(1,)).is_recorded_as(before)
    assert not Outer(train=Inner(steps=3), sizes=(1,)).is_recorded_as(before)
    assert not Outer().is_recorded_as({"gone": 1})
