"""What is asked again after a run broke off: never what was answered, though the answer was refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.servers.mining import SETTINGS, titled
from trialigngr.enrich.asking import Desk, ask_about, rows_of
from trialigngr.enrich.generator import Answer, CallSettings, Question
from trialigngr.enrich.ledger import Ledger
from trialigngr.enrich.mining import Mining
from trialigngr.enrich.prompts import AGAIN

GOOD = '{"interests": [{"tag": "home barista", "confidence": "high"}, {"tag": "early riser", "confidence": "low"}],'
GOOD += ' "lifestyle": "slow mornings"}'
RIGHT, WRONG, FAILED = Answer(-1, GOOD), Answer(-1, "Certainly!"), Answer(-1, None, "no answer within 5 s")
CALLS = CallSettings(concurrency=4)


class Writer:
    """Answers one question after the other with what it was given, and breaks off when it has nothing left."""

    name, settings = "writer", dict[str, Any]()

    def __init__(self, *answers: Answer) -> None:
        self.left, self.asked = list(answers), list[str]()

    def answers(self, questions: Iterable[Question]) -> Iterator[list[Answer]]:
        for question in questions:
            self.asked.append(question.text)
            if not self.left:
                raise RuntimeError("broken off")
            yield [replace(self.left.pop(0), number=question.number)]

    def close(self) -> None:
        """Have nothing to let go of."""


def mined(path: Path, writer: Any, items: int = 2) -> list[str | None]:
    inquiry = Mining(SETTINGS, titled(items), [None] * items, writer.name)
    with Ledger(path) as ledger:
        return [kept and kept.text for kept in ask_about(inquiry, writer, Desk(ledger, CALLS), items, "Mining")]


def test_a_refused_answer_is_not_paid_for_again_after_a_break(tmp_path: Path) -> None:
    first = Writer(WRONG, RIGHT)
    with pytest.raises(RuntimeError, match="broken off"):
        mined(tmp_path / "ledger.sqlite", first)
    correction = AGAIN.replace("{problem}", "the answer is not one JSON object")
    assert first.asked[2].endswith(correction)  # was asked, and never answered

    second = Writer(RIGHT)
    assert mined(tmp_path / "ledger.sqlite", second) == [GOOD, GOOD]
    assert second.asked == [first.asked[2]]
    inquiry = Mining(SETTINGS, titled(1), [None], "writer")
    (row,) = rows_of(inquiry, {}, range(1))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        (tried,) = ledger.tried([row.key], 1)
    assert tried is not None
    assert (tried.state, tried.problem, tried.calls, tried.again) == ("done", None, 2, 1)


def test_what_failed_in_an_earlier_run_is_asked_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    assert mined(path, Writer(FAILED), 1) == [None]
    with pytest.raises(RuntimeError, match="broken off"):
        mined(path, Writer(), 1)
    last = Writer(RIGHT)
    assert mined(path, last, 1) == [GOOD]
    assert "no answer within" not in last.asked[0]
