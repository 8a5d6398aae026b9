"""When answers are written down, and what is asked again after a run broke off: nothing that was answered, though the
answer was refused, and nothing that was never sent counts as that."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.servers.chat import Script, chat_server
from benchmarks.servers.mining import SETTINGS, make_calls, settled, titled
from trialigngr.enrich.mining import InterestJob
from trialigngr.llm.answers import CORRECTION_TEMPLATE
from trialigngr.llm.generator import GenerationRequest, GenerationResponse
from trialigngr.llm.jobs import JobContext, iter_job_rows, run_job
from trialigngr.llm.openai_generator import OpenAIGenerator
from trialigngr.llm.response_cache import ResponseCache
from trialigngr.llm.settings import JobSettings

GOOD = '{"interests": [{"tag": "home barista", "confidence": "high"}, {"tag": "early riser", "confidence": "low"}],'
GOOD += ' "lifestyle": "slow mornings"}'
RIGHT, WRONG, FAILED = (
    GenerationResponse(-1, GOOD),
    GenerationResponse(-1, "Certainly!"),
    GenerationResponse(-1, None, "no answer within 5 s"),
)
LIMITS = JobSettings()


class Writer:
    """Answers one question after the other with what it was given, and breaks off when it has nothing left."""

    name, settings, max_in_flight = "writer", dict[str, Any](), 1

    def __init__(self, *answers: GenerationResponse) -> None:
        self.left, self.asked = list(answers), list[str]()

    def submit(self, request: GenerationRequest) -> None:
        self.asked.append(request.user_prompt)
        self.number = request.number

    def collect(self, wait: bool) -> list[GenerationResponse]:
        if not wait:
            return []
        if not self.left:
            raise RuntimeError("broken off")
        return [replace(self.left.pop(0), number=self.number)]

    def close(self) -> None:
        """Have nothing to let go of."""


def mined(path: Path, writer: Any, items: int = 2) -> list[str | None]:
    inquiry = InterestJob(SETTINGS, titled(items), [None] * items, writer.name)
    with ResponseCache(path) as ledger:
        return [kept and kept.text for kept in run_job(inquiry, writer, JobContext(ledger, LIMITS), items, "Mining")]


def test_a_refused_answer_is_not_paid_for_again_after_a_break(tmp_path: Path) -> None:
    first = Writer(WRONG)
    with pytest.raises(RuntimeError, match="broken off"):
        mined(tmp_path / "responses.sqlite", first)
    correction = CORRECTION_TEMPLATE.replace("{problem}", "the answer is not one JSON object")
    assert first.asked[1].endswith(correction)  # was asked, and never answered

    second = Writer(RIGHT, RIGHT)
    assert mined(tmp_path / "responses.sqlite", second) == [GOOD, GOOD]
    assert second.asked[0] == first.asked[1]
    assert "item 1" in second.asked[1]
    inquiry = InterestJob(SETTINGS, titled(1), [None], "writer")
    (row,) = iter_job_rows(inquiry, {}, range(1))
    with ResponseCache(tmp_path / "responses.sqlite") as ledger:
        (tried,) = ledger.read_attempts([row.key], 1)
    assert tried is not None
    assert (tried.state, tried.problem, tried.calls, tried.repeated_calls) == ("done", None, 2, 1)


def test_what_was_never_sent_is_not_counted_as_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="broken off"):
        mined(tmp_path / "responses.sqlite", Writer(RIGHT, RIGHT), 9)
    assert mined(tmp_path / "responses.sqlite", Writer(*[RIGHT] * 7), 9) == [GOOD] * 9
    assert "interests: 1 calls that were in flight when a run was broken off are made again" in capsys.readouterr().err
    with ResponseCache(tmp_path / "responses.sqlite") as ledger:
        assert ledger.run_query("SELECT sum(repeated_calls), count(*) FROM responses") == [(1, 9)]


def test_answers_are_on_the_disk_while_the_next_question_is_made(tmp_path: Path) -> None:
    class Slow(InterestJob):
        """Whose questions take until all that were asked before are answered, on the disk."""

        late = 0

        def make_request(self, number: int) -> GenerationRequest:
            until = time.monotonic() + 10
            while len(settled(tmp_path)) < number and time.monotonic() < until:
                time.sleep(0.01)
            self.late += len(settled(tmp_path)) < number
            return super().make_request(number)

    with chat_server(Script()) as url, ResponseCache(tmp_path / "responses.sqlite") as ledger:
        calls = make_calls(url)
        with closing(OpenAIGenerator(SETTINGS, calls.interests.openai)) as served:
            slow = Slow(SETTINGS, titled(3), [None] * 3, served.name)
            assert all(run_job(slow, served, JobContext(ledger, calls), 3, "Mining"))
    assert slow.late == 0


def test_what_failed_in_an_earlier_run_is_asked_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "responses.sqlite"
    assert mined(path, Writer(FAILED), 1) == [None]
    with pytest.raises(RuntimeError, match="broken off"):
        mined(path, Writer(), 1)
    last = Writer(RIGHT)
    assert mined(path, last, 1) == [GOOD]
    assert "no answer within" not in last.asked[0]
