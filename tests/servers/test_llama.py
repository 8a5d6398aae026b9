"""A real server, llama.cpp's, and a real model answer about the drawn shop through the command line; minutes long."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

from benchmarks.servers.llama import NAME, SLOTS, llama_server
from tests.conftest import Done
from trialigngr.enrich.interests import FILE, load_interests
from trialigngr.enrich.lexicon import read_lexicon

pytestmark = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="a real server needs: make test-servers")
ITEMS, WANTED = 50, 45


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with llama_server(tmp_path_factory.mktemp("llama") / "said.txt") as url:
        yield url


def mined(cli: Callable[..., Done], out: Path, items: int, **changes: object) -> dict[str, object]:
    """Run a recipe up to the interests on a shop of so many items; return the facts of that stage."""
    changes = {"shop.items": items, "shop.shoppers": 200} | {
        name.replace("__", "."): value for name, value in changes.items()
    }
    sets = [word for name, value in changes.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    done = cli("run", "trialigngr-demo", "--out", out, "--until", "interests", *sets)
    assert done.code == 0, done.err
    facts: dict[str, object] = json.loads((out / "interests" / "manifest.json").read_text("utf-8"))["facts"]
    return facts


def answered(run: Path) -> int:
    """Return the items about which a usable answer came."""
    return pl.read_parquet(run / "interests" / FILE)["problem"].null_count()


def test_a_real_server_answers_about_fifty_items(cli: Callable[..., Done], url: str, tmp_path: Path) -> None:
    began = time.monotonic()
    facts = mined(
        cli, tmp_path, ITEMS, interests__generator="openai", interests__model=NAME, interests__choose_from="lexicon",
        interests__drop_low=False, calls__interests__url=url, calls__interests__concurrency=SLOTS,
        calls__interests__timeout=600,
    )  # fmt: skip
    seconds = time.monotonic() - began
    parsed, written = answered(tmp_path), facts["tokens_out"]
    print(f"\n{parsed} of {ITEMS} parsed in {seconds:.0f} s, {written / seconds:.1f} tokens/s written; {facts}")
    assert pl.read_parquet(tmp_path / "interests" / FILE).height == ITEMS
    assert parsed >= WANTED
    lexicon = read_lexicon()
    for one in load_interests(tmp_path / "interests"):
        assert set(one.names) <= set(lexicon["interests"])
        assert one.lifestyle is None or one.lifestyle in lexicon["lifestyles"]
