"""`SearchSpace`: settings and the values they may take; and the samplers that choose what is tried next."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, Protocol

import numpy as np

from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.seeds import derive_seed

MAX_COMBINATIONS = 100_000
"""Combinations of values at most."""
MAX_KNOWN_IN_A_ROW = 10
"""After so many known combinations in a row chance chooses."""
Changes = tuple[str, ...]
"""Changes to a recipe, of the form ``a.b=value``."""
SamplerName = Literal["random", "tpe"]


@dataclass(frozen=True)
class SearchSpace:
    """The settings that are searched, each with its values."""

    settings: tuple[tuple[str, list[Any]], ...]

    @classmethod
    def from_texts(cls, texts: Sequence[str]) -> SearchSpace:
        """Read texts of the form ``a.b=[value, value]``; raise `RecipeError` for others, for none and for too many
        combinations."""
        if not texts:
            raise RecipeError("There is nothing to search: give --over 'a.b=[value, value]'.")
        space = cls(tuple(_parse_values(text) for text in texts))
        if space.num_combinations > MAX_COMBINATIONS:
            raise RecipeError(f"--over spans more than {MAX_COMBINATIONS:,} combinations; give fewer values.")
        return space

    @property
    def num_combinations(self) -> int:
        """How many combinations of values there are."""
        return math.prod(len(values) for _, values in self.settings)

    def iter_combinations(self) -> Iterator[Changes]:
        """Yield every combination."""
        yield from map(self.choose_values, product(*(range(len(values)) for _, values in self.settings)))

    def shuffle_places(self, seed: int) -> Iterator[tuple[int, ...]]:
        """Yield every combination in random order, as places in the lists of values."""
        shape = tuple(len(values) for _, values in self.settings)
        for number in np.random.default_rng(derive_seed(seed, "tune")).permutation(self.num_combinations):
            yield tuple(map(int, np.unravel_index(number, shape)))

    def choose_values(self, places: Sequence[int]) -> Changes:
        """Return the combination of the value at a place of each setting's list; places go round."""
        return tuple(
            f"{key}={json.dumps(values[place % len(values)])}"
            for (key, values), place in zip(self.settings, places, strict=True)
        )

    def cover_values(self) -> list[Changes]:
        """Return a few combinations in which each value stands once at least."""
        longest = max(len(values) for _, values in self.settings)
        return [self.choose_values([place] * len(self.settings)) for place in range(longest)]


class Sampler(Protocol):
    """Chooses combinations one after the other; the same seed and scores lead to the same ones."""

    def suggest(self) -> Changes | None:
        """Return a combination that was not suggested before; None where there is nothing new."""
        ...

    def record(self, score: float | None) -> None:
        """Take the score of what was suggested last; None where that failed."""
        ...


class RandomSampler:
    """All combinations in random order."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self.combinations = map(space.choose_values, space.shuffle_places(seed))

    def suggest(self) -> Changes | None:
        """Return the next one."""
        return next(self.combinations, None)

    def record(self, score: float | None) -> None:
        """Learn nothing."""


class TpeSampler:
    """Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011): ten combinations at random, then those
    whose values are frequent among the best so far and rare among the rest."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        try:
            import optuna
        except ImportError:
            raise RecipeError("--sampler tpe needs optuna; install it with: pip install 'trialigngr[tune]'.") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # Its seeds have 32 bits.
        sampler = optuna.samplers.TPESampler(seed=derive_seed(seed, "tune") % 2**32)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._failed = optuna.trial.TrialState.FAIL
        self.space, self._by_chance = space, space.shuffle_places(seed)
        # Places stand for values, since 1, 1.0 and true are one choice to optuna, and a list is none.
        self._choices: dict[str, optuna.distributions.BaseDistribution] = {
            str(number): optuna.distributions.CategoricalDistribution(range(len(values)))
            for number, (_, values) in enumerate(space.settings)
        }
        self._suggested = set[tuple[int, ...]]()

    def suggest(self) -> Changes | None:
        """Return what the estimator asks for; what it repeats is told as a failure, from which it learns nothing."""
        places = self._ask()
        for _ in range(MAX_KNOWN_IN_A_ROW):
            if places not in self._suggested:
                break
            self.record(None)
            places = self._ask()
        else:
            self.record(None)
            unknown = next((places for places in self._by_chance if places not in self._suggested), None)
            if unknown is None:
                return None
            self._study.enqueue_trial(dict(zip(self._choices, unknown, strict=True)))
            places = self._ask()
        self._suggested.add(places)
        return self.space.choose_values(places)

    def record(self, score: float | None) -> None:
        """Tell the score."""
        self._study.tell(self._trial, score, state=self._failed if score is None else None)

    def _ask(self) -> tuple[int, ...]:
        self._trial = self._study.ask(self._choices)
        return tuple(self._trial.params[name] for name in self._choices)


SAMPLERS: dict[SamplerName, type[RandomSampler] | type[TpeSampler]] = {"random": RandomSampler, "tpe": TpeSampler}
"""Name → sampler."""


def _parse_values(text: str) -> tuple[str, list[Any]]:
    """Return the setting and the values of ``a.b=[value, value]``."""
    key, _, listed = text.partition("=")
    try:
        values = tomllib.loads(f"values = {listed}")["values"]
    except tomllib.TOMLDecodeError:
        values = None
    if not key.strip() or not isinstance(values, list) or not values:
        raise RecipeError(f"--over {text!r} is not of the form a.b=[value, value]; text values stand in quotes.")
    return key.strip(), values
