"""What docs/serving_elsewhere.md tells another server is what a run itself asks its model."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from tests.support.commands import trialigngr
from tests.support.runs import HISTORY
from trialigngr.runs.run import load
from trialigngr.studies.flashrec import describe_flashrec_command
from trialigngr.tasks.task import find_task


def test_messages_of_the_third_task_and_a_begun_answer_are_the_prompt(tiny_run: Path) -> None:
    run, task = load(tiny_run), find_task("T3")
    rows = np.array([run.artifacts.catalog.find_row(item_id) for item_id in HISTORY])
    sids = "".join(run.artifacts.sids.sid_text(row) for row in rows)
    messages = [{"role": "system", "content": task.system}, {"role": "user", "content": task.instruction}]
    begun = [*messages, {"role": "assistant", "content": sids}]
    tokenizer = AutoTokenizer.from_pretrained(tiny_run / "model")
    text = tokenizer.apply_chat_template(begun, tokenize=False, continue_final_message=True)
    asked = run.current_recommender.sid_recommender.build_prompt(rows)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == list(asked)
    answer = run.recommend(HISTORY, 1)[0].sid
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode([*ids, tokenizer.eos_token_id], skip_special_tokens=True) == answer


def test_flashrec_is_told_where_the_sids_are(copied_run: Path, tmp_path: Path) -> None:
    done = trialigngr("sids", "export", copied_run, "flashrec", tmp_path / "catalogue.json")
    assert "type qwen3 alone, and this one is qwen2" in done.out
    config = copied_run / "model" / "config.json"
    config.write_text(config.read_text("utf-8").replace('"model_type": "qwen2"', '"model_type": "qwen3"'), "utf-8")
    sids = load(copied_run).artifacts.sids
    words = shlex.split(describe_flashrec_command(copied_run, sids, tmp_path / "catalogue.json"))
    flags = dict(zip(words[2::2], words[3::2], strict=True))
    vocabulary = AutoTokenizer.from_pretrained(copied_run / "model").get_vocab()
    first, last = map(int, flags["--sid-token-range"].split(":"))
    assert (first, last) == (vocabulary["<a_0>"], vocabulary[f"<c_{sids.codebook_sizes[2] - 1}>"])
    assert flags["--sid-codebook-sizes"] == ",".join(map(str, sids.codebook_sizes))
    assert (flags["--sid-boundary-tokens"], flags["--max-tokens"]) == ("", "3")
    assert last - first + 1 == sum(sids.codebook_sizes)
