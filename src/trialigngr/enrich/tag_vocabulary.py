"""`TagVocabulary`: the lexicon as all that a language model may say; of it, each item is shown what is nearest to
it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256

from trialigngr.enrich.lexicon import LexiconMiner, read_lexicon
from trialigngr.enrich.response_schemas import Choices
from trialigngr.enrich.text import ItemText
from trialigngr.llm.answers import ResponseError

BATCH_SIZE = 32
"""Items whose choices are found together, as their texts are embedded faster so."""
TAGS_PER_LIFESTYLE = 3


class TagVocabulary:
    """``num_tags`` tags and a third as many lifestyles for each of ``num_items`` items.

    What is near to an item depends on its own text alone, not on the catalogue, so a changed item changes no other.
    """

    def __init__(self, text_of: Callable[[int], ItemText], num_items: int, num_tags: int, device: str = "auto") -> None:
        entries = read_lexicon()
        self._text_of, self._num_items, self._num_tags, self._device = text_of, num_items, num_tags, device
        self._spelling = {kind: {name.casefold(): name for name in names} for kind, names in entries.items()}
        self.identity = sha256(json.dumps([entries, num_tags]).encode()).hexdigest()[:16]
        self._cached_batch = lru_cache(maxsize=128)(self._find_batch)

    @property
    def choice_characters(self) -> int:
        """How many letters the choices of an item have, about."""
        names = self._spelling["interests"]
        mean = sum(map(len, names)) // len(names) + len("; ")
        return mean * (self._num_tags + self._num_tags // TAGS_PER_LIFESTYLE)

    def find_choices(self, number: int) -> Choices:
        """Return what an item is shown, the nearest first."""
        return self._cached_batch(number // BATCH_SIZE)[number % BATCH_SIZE]

    def _find_batch(self, block: int) -> list[Choices]:
        miner = _load_miner(self._device)
        first = block * BATCH_SIZE
        texts = [self._text_of(number) for number in range(first, min(first + BATCH_SIZE, self._num_items))]
        tags = miner.find_nearest_names(texts, "interests", self._num_tags)
        lifestyles = miner.find_nearest_names(texts, "lifestyles", self._num_tags // TAGS_PER_LIFESTYLE)
        return list(map(Choices, tags, lifestyles))

    def match_spelling(self, kind: str, name: str) -> str:
        """Return the name as the lexicon spells it; raise `ResponseError` when it is not of this kind there."""
        if name.casefold() not in self._spelling[kind]:
            raise ResponseError("tags and lifestyle must stand on their lists, word for word")
        return self._spelling[kind][name.casefold()]


@lru_cache(maxsize=1)
def _load_miner(device: str) -> LexiconMiner:
    return LexiconMiner((), device)
