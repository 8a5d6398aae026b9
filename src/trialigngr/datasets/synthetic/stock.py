"""The stock: which products the shop has, and the look and the interest that each of them secretly serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product as every
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
Labels = npt.NDArray[np.int64]
N_LOOKS = 6
N_INTERESTS = 6


@dataclass(frozen=True)
class Department:
    """One category: what its products may be called, be made of, and how big they are."""

    categories: tuple[str, str]
    nouns: tuple[str, ...]
    materials: tuple[str, ...]
    sizes: tuple[str, ...]
    brands: tuple[str, ...]


@dataclass(frozen=True)
class Product:
    """A product as the sign on its shelf names it. Look and interest are not part of it."""

    department: int
    brand: str
    material: str
    noun: str
    size: str

    @property
    def title(self) -> str:
        """Brand, material, noun, size."""
        return f"{self.brand} {self.material} {self.noun}, {self.size}"


DEPARTMENTS = (
    Department(
        ("Home & Kitchen", "Mugs"),
        ("Mug", "Cup", "Tumbler"),
        ("Stoneware", "Porcelain", "Enamel", "Earthenware"),
        ("200 ml", "250 ml", "300 ml", "350 ml", "400 ml", "450 ml"),
        ("Halden", "Bramwick", "Lund & Pike", "Ostrava House", "Tovi", "Quill"),
    ),
    Department(
        ("Home & Kitchen", "Teapots"),
        ("Teapot", "Coffee Pot", "Kettle"),
        ("Stoneware", "Porcelain", "Enamel", "Cast-Iron"),
        ("0.6 l", "0.8 l", "1.0 l", "1.2 l", "1.4 l", "1.6 l"),
        ("Halden", "Marrow", "Lund & Pike", "Kitto", "Ostrava House", "Pellam"),
    ),
    Department(
        ("Home & Living", "Lamps"),
        ("Table Lamp", "Pendant Lamp", "Floor Lamp"),
        ("Linen", "Paper", "Steel", "Glass"),
        ("30 cm", "36 cm", "42 cm", "48 cm", "54 cm", "60 cm"),
        ("Nordby", "Kitto", "Fenwright", "Tovi", "Sallow & Sons", "Arlo"),
    ),
    Department(
        ("Home & Living", "Chairs"),
        ("Armchair", "Stool", "Dining Chair"),
        ("Velvet", "Linen", "Leather", "Boucle"),
        ("seat 42 cm", "seat 44 cm", "seat 45 cm", "seat 46 cm", "seat 48 cm", "seat 50 cm"),
        ("Nordby", "Sallow & Sons", "Fenwright", "Bramwick", "Dovrefell", "Marrow"),
    ),
    Department(
        ("Clothing", "Jackets"),
        ("Jacket", "Hooded Jacket", "Vest"),
        ("Wool", "Cotton", "Nylon", "Corduroy"),
        ("size XS", "size S", "size M", "size L", "size XL", "size XXL"),
        ("Dovrefell", "Wexcombe", "Arlo", "Hobbin", "Ilse Tarn", "Pellam"),
    ),
    Department(
        ("Clothing", "Shoes"),
        ("Sneakers", "Boots", "Slip-Ons"),
        ("Suede", "Canvas", "Leather", "Wool"),
        ("EU 36", "EU 38", "EU 40", "EU 42", "EU 44", "EU 46"),
        ("Wexcombe", "Hobbin", "Ilse Tarn", "Tamsin Roe", "Calder", "Quill"),
    ),
    Department(
        ("Bags & Stationery", "Bags"),
        ("Backpack", "Tote Bag", "Duffel Bag"),
        ("Canvas", "Felt", "Nylon", "Leather"),
        ("12 l", "16 l", "20 l", "25 l", "30 l", "38 l"),
        ("Calder", "Tamsin Roe", "Hobbin", "Dovrefell", "Penhallow", "Arlo"),
    ),
    Department(
        ("Bags & Stationery", "Notebooks"),
        ("Notebook", "Planner", "Sketchbook"),
        ("Linen", "Paper", "Leather", "Cork"),
        ("A4, 96 pages", "A4, 160 pages", "A5, 120 pages", "A5, 192 pages", "A6, 80 pages", "B5, 144 pages"),
        ("Quill", "Penhallow", "Kitto", "Calder", "Fenwright", "Ilse Tarn"),
    ),
)


def deal_evenly(choices: Sequence[T], count: int, rng: np.random.Generator) -> list[T]:
    """Return ``count`` of ``choices`` in random order, each as often as any other (give or take one)."""
    rounds = [rng.permutation(len(choices)) for _ in range(-(-count // len(choices)))]
    return [choices[i] for i in np.concatenate(rounds)[:count]]


def assign_departments(num_items: int) -> Labels:
    """Return the department of each item: shelves of equal length, one department after the other."""
    return np.arange(num_items) * len(DEPARTMENTS) // num_items


def make_products(department: int, count: int, rng: np.random.Generator) -> list[Product]:
    """Return ``count`` products of a department; no title comes twice as long as there are enough combinations."""
    shelf = DEPARTMENTS[department]
    signs = list(every(shelf.brands, shelf.materials, shelf.nouns, shelf.sizes))
    return [Product(department, *sign) for sign in deal_evenly(signs, count, rng)]


def draw_hidden_labels(department_N: Labels, rng: np.random.Generator) -> tuple[Labels, Labels]:
    """Return the look and the interest of every item: in each department all pairs occur equally often, at random.

    They are dealt without a glance at brand, material, noun or size, so that no title gives them away.
    """
    pairs = list(every(range(N_LOOKS), range(N_INTERESTS)))
    dealt_pairs = [pair for count in np.bincount(department_N) for pair in deal_evenly(pairs, int(count), rng)]
    look_N, interest_N = np.array(dealt_pairs, dtype=np.int64).T
    return look_N, interest_N
