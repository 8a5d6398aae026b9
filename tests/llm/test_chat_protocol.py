from __future__ import annotations

import json

import pytest

from trialigngr.llm.chat_protocol import parse_response_body


@pytest.mark.parametrize(
    ("said", "reason", "kept"),
    [
        (" A white mug. It stands on ", "length", "A white mug."),
        (" A white mug. It stands on ", "stop", "A white mug. It stands on"),
        ('{"lifestyle": "St. Ives', "length", '{"lifestyle": "St. Ives'),
    ],
)
def test_running_text_that_ran_out_of_tokens_ends_with_a_whole_sentence(said: str, reason: str, kept: str) -> None:
    body = {"choices": [{"message": {"content": said}, "finish_reason": reason}], "usage": {"completion_tokens": 7}}
    answer = parse_response_body(3, json.dumps(body).encode())
    assert (answer.number, answer.text, answer.completion_tokens) == (3, kept, 7)
