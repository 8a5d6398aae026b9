"""`Vocabulary`: the lexicon as all that a language model may say; of it, each item is shown what is nearest to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256

from trialigngr.enrich.lexicon import LexiconMiner, read_lexicon
from trialigngr.llm.answers import AnswerError
from trialigngr.llm.generator import Choices, ItemText

BLOCK = 32
"""Items whose choices are found together, as their texts are embedded faster so."""
TAGS_A_LIFESTYLE = 3


class Vocabulary:
    """``count`` tags and a third as many lifestyles for each of ``total`` items.

    What is near to an item depends on its own text alone, not on the catalogue, so a changed item changes no other.
    """

    def __init__(self, text_of: Callable[[int], ItemText], total: int, count: int, device: str = "auto") -> None:
        entries = read_lexicon()
        self._text_of, self._total, self._count, self._device = text_of, total, count, device
        self._spelling = {kind: {name.casefold(): name for name in names} for kind, names in entries.items()}
        self.identity = sha256(json.dumps([entries, count]).encode()).hexdigest()[:16]
        self._block = lru_cache(maxsize=128)(self._found)

    @property
    def letters(self) -> int:
        """How many letters the choices of an item have, about."""
        names = self._spelling["interests"]
        mean = sum(map(len, names)) // len(names) + len("; ")
        return mean * (self._count + self._count // TAGS_A_LIFESTYLE)

    def choices(self, number: int) -> Choices:
        """Return what an item is shown, the nearest first."""
        return self._block(number // BLOCK)[number % BLOCK]

    def _found(self, block: int) -> list[Choices]:
        miner = _miner(self._device)
        first = block * BLOCK
        texts = [self._text_of(number) for number in range(first, min(first + BLOCK, self._total))]
        tags = miner.nearest(texts, "interests", self._count)
        lifestyles = miner.nearest(texts, "lifestyles", self._count // TAGS_A_LIFESTYLE)
        return list(map(Choices, tags, lifestyles))

    def listed(self, kind: str, name: str) -> str:
        """Return the name as the lexicon spells it; raise `AnswerError` when it is not of this kind there."""
        if name.casefold() not in self._spelling[kind]:
            raise AnswerError("tags and lifestyle must stand on their lists, word for word")
        return self._spelling[kind][name.casefold()]


@lru_cache(maxsize=1)
def _miner(device: str) -> LexiconMiner:
    return LexiconMiner((), device)
