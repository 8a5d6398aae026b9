"""What the shop writes: descriptions that never name the interest they are written for."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np

from trialigngr.catalog.shop.stock import Product

CHOICE = re.compile(r"\{([^{}]*)\}")


@cache
def phrases() -> dict[str, Any]:
    """Return the phrase bank: ``products`` (per department), ``interests`` (per interest), ``closings``."""
    return tomllib.loads(files(__package__).joinpath("phrases.toml").read_text(encoding="utf-8"))


def spoken(phrase: str, rng: np.random.Generator) -> str:
    """Return the phrase with one of the alternatives of each ``{a|b}``."""
    return CHOICE.sub(lambda match: str(rng.choice(match[1].split("|"))), phrase)


def _about(product: Product, rng: np.random.Generator) -> str:
    sentence = Template(spoken(rng.choice(phrases()["products"][product.department]), rng)).substitute(
        material=product.material.lower(), noun=product.noun.lower()
    )
    return sentence[0].upper() + sentence[1:]


def describe(product: Product, interest: int, rng: np.random.Generator) -> str:
    """Return three or four sentences: how the product is made, and hints at the life of those who buy it."""
    hints = rng.choice(phrases()["interests"][interest], size=2, replace=False)
    sentences = [_about(product, rng), *(spoken(hint, rng) for hint in hints)]
    if rng.random() < 0.5:
        sentences.append(spoken(rng.choice(phrases()["closings"]), rng))
    return " ".join(sentences)
