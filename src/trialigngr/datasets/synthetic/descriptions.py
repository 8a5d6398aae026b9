"""What the shop writes: descriptions that never name the interest they are written for."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np

from trialigngr.datasets.synthetic.stock import Product

NUM_HINTS = 3
CHOICE_PATTERN = re.compile(r"\{([^{}]*)\}")


@cache
def load_phrases() -> dict[str, Any]:
    """Return the phrase bank: ``products`` (per department) and ``interests`` (per interest)."""
    return tomllib.loads(files(__package__).joinpath("phrases.toml").read_text(encoding="utf-8"))


def choose_wording(phrase: str, rng: np.random.Generator) -> str:
    """Return the phrase with one of the alternatives of each ``{a|b}``."""
    return CHOICE_PATTERN.sub(lambda match: str(rng.choice(match[1].split("|"))), phrase)


def _describe_making(product: Product, rng: np.random.Generator) -> str:
    sentence = Template(choose_wording(rng.choice(load_phrases()["products"][product.department]), rng)).substitute(
        material=product.material.lower(), noun=product.noun.lower()
    )
    return sentence[0].upper() + sentence[1:]


def describe_product(product: Product, interest: int, rng: np.random.Generator) -> str:
    """Return four sentences: how the product is made, and three hints at the life of those who buy it."""
    hints = rng.choice(load_phrases()["interests"][interest], size=NUM_HINTS, replace=False)
    return " ".join([_describe_making(product, rng), *(choose_wording(hint, rng) for hint in hints)])
