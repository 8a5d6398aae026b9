"""What the byte-level BPE learns from."""

from __future__ import annotations

import time

import pytest

from trialigngr.models import tokenizer
from trialigngr.models.tokenizer import MAX_WORD_CHARACTERS, train_tokenizer

TEXTS = ["a plain white mug for tea and coffee", "interests of a weekend hiker; home barista", "中文字"] * 20


@pytest.mark.parametrize("part", ["abcdefgh", "!?", "中文"])
def test_a_very_long_word_is_learnt_in_parts(part: str) -> None:
    learnt = train_tokenizer([*TEXTS, part * 4000], 4096)
    assert max(map(len, learnt.get_vocab())) <= MAX_WORD_CHARACTERS
    assert learnt.decode(learnt.encode(part * 50)) == part * 50


def test_a_word_ten_times_as_long_takes_about_ten_times_as_long() -> None:
    def seconds(letters: int) -> float:
        begun = time.process_time()
        train_tokenizer(["abcdefgh" * (letters // 8)], 4096)
        return time.process_time() - begun

    seconds(8)
    assert seconds(200_000) < 40 * seconds(20_000)


def test_other_words_are_learnt_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = train_tokenizer(TEXTS, 600).get_vocab()
    monkeypatch.setattr(tokenizer, "MAX_WORD_CHARACTERS", 100_000)
    assert train_tokenizer(TEXTS, 600).get_vocab() == cut
