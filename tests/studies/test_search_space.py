"""What a search may try, and the laws of what chooses it."""

from __future__ import annotations

import numpy as np
import pytest

from trialigngr.foundation.errors import RecipeError
from trialigngr.studies.search_space import SAMPLERS, Changes, SamplerName, SearchSpace

SPACE = SearchSpace.from_texts(
    ["a.b=[1, 2, 3, 4, 5, 6, 7, 8]", "a.c=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]", 'd=["x", "y", "z"]']
)
every_sampler = pytest.mark.parametrize("name", list(SAMPLERS))


def score(changes: Changes) -> float:
    """Return a score that is best at a.b=8, a.c=0.6, whatever d is."""
    return float(changes[0].partition("=")[2]) / 8 + float(changes[1].partition("=")[2]) / 0.6


def try_out(name: SamplerName, space: SearchSpace, num_trials: int, seed: int = 0) -> list[Changes]:
    """Return what a sampler tries; every seventh trial fails."""
    sampler, tried = SAMPLERS[name](space, seed), list[Changes]()
    while len(tried) < num_trials and (changes := sampler.suggest()) is not None:
        tried.append(changes)
        sampler.record(None if len(tried) % 7 == 0 else score(changes))
    return tried


@every_sampler
def test_the_same_seed_tries_the_same_and_another_seed_others(name: SamplerName) -> None:
    one, again, other = (try_out(name, SPACE, 30, seed) for seed in (0, 0, 1))
    assert one == again
    assert one != other
    assert try_out(name, SPACE, 20) == one[:20], "fewer trials are the first of more"


@every_sampler
def test_nothing_is_tried_twice_and_a_small_space_to_its_end(name: SamplerName) -> None:
    small = SearchSpace.from_texts(["a.b=[1, 2, 3]", "a.c=[0.1, 0.2]"])
    found = try_out(name, small, 99)
    assert sorted(found) == sorted(small.iter_combinations())
    assert len(set(try_out(name, SPACE, 60))) == 60


def test_tpe_finds_more_than_chance() -> None:
    late = {
        name: np.mean([score(tried) for seed in range(5) for tried in try_out(name, SPACE, 25, seed)[10:]])
        for name in SAMPLERS
    }
    assert late["tpe"] > late["random"] + 0.1


def test_values_of_every_kind() -> None:
    space = SearchSpace.from_texts(["a.b=[1, 1.0, true]", "a.c=[[1, 2], [3]]"])
    assert space.num_combinations == 6
    sampler = SAMPLERS["tpe"](space, 0)
    found = set[Changes | None]()
    for _ in range(6):
        found.add(sampler.suggest())
        sampler.record(1.0)
    assert found == set(space.iter_combinations())
    assert space.cover_values() == [("a.b=1", "a.c=[1, 2]"), ("a.b=1.0", "a.c=[3]"), ("a.b=true", "a.c=[1, 2]")]


@pytest.mark.parametrize("texts", [[], ["a.b"], ["a.b=1"], ["a.b=[]"], ["=[1]"], ["a.b=[1", "]"]])
def test_what_is_no_space(texts: list[str]) -> None:
    with pytest.raises(RecipeError, match="--over"):
        SearchSpace.from_texts(texts)
