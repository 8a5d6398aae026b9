"""Stages on a real Ray cluster of two workers on this machine, one of them killed. Takes some minutes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image, ImageDraw

from tests.support.runs import tiny
from tests.support.tiny_models import save_chat_model
from trialigngr.catalog.items import ITEM_COLUMNS, Catalog
from trialigngr.embed import embeddings as items
from trialigngr.embed.embeddings import load_embeddings, write_embeddings
from trialigngr.embed.settings import EmbedSettings
from trialigngr.enrich import captions, miners
from trialigngr.enrich.caption_table import load_captions
from trialigngr.enrich.captions import write_captions
from trialigngr.enrich.interests import load_interests
from trialigngr.enrich.mining import write_interests
from trialigngr.enrich.settings import CallSettings, CaptionSettings, InterestSettings
from trialigngr.foundation import executor as crew
from trialigngr.foundation.errors import ArtifactError, RecipeError
from trialigngr.foundation.executor import LOCAL_EXECUTION, RayExecutor, RaySettings, make_executor
from trialigngr.sids import assign
from trialigngr.sids.assign import assign_sids
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.sids.settings import SidSettings

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="a Ray cluster needs: make test-ray"),
    # What Ray itself leaves open.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
TWO = RaySettings(address="local", num_workers=2)
ITEMS = 24


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    import ray

    # Two GPUs by name: Ray hands them out, and nobody computes on them.
    own = {"num_cpus": 2, "num_gpus": 2, "include_dashboard": False, "log_to_driver": False}
    ray.init(address="local", _node_ip_address="127.0.0.1", **own)
    yield
    ray.shutdown()


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Kill the busier worker of each crew when its first block has come; return the numbers of the killed."""
    came, killed, struck = RayExecutor._collect_results, list[int](), set[int]()

    def and_kill(self: RayExecutor[Any, Any]) -> Iterator[tuple[int, Any]]:
        for place, result in came(self):
            if id(self) not in struck:
                struck.add(id(self))
                victim = max((hand for hand in self._workers if hand.process_id), key=lambda hand: len(hand.batches))
                assert victim.batches
                os.kill(victim.process_id, signal.SIGKILL)
                killed.append(victim.process_id)
            yield place, result

    monkeypatch.setattr(RayExecutor, "_collect_results", and_kill)
    return killed


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module, name in (
        (captions, "BATCH_SIZE"),
        (miners, "BATCH_SIZE"),
        (items, "CHUNK_SIZE"),
        (assign, "ROWS_AT_ONCE"),
    ):
        monkeypatch.setattr(module, name, 4)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker of one CPU has them: other sums, other roundings
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    (tmp_path / "data").mkdir()
    rows = []
    for number in range(ITEMS):
        picture = Image.new("RGB", (60, 60), "white")
        ImageDraw.Draw(picture).ellipse((9, 9, 50, 50), fill=(10 * number, 255 - 10 * number, 90))
        picture.save(tmp_path / "data" / f"{number}.png")
        rows.append({"item_id": str(number), "title": f"tent {number}", "image_path": f"{number}.png"})
    (tmp_path / "data" / "7.png").write_bytes(b"no picture")
    return Catalog(pl.DataFrame(rows, schema=ITEM_COLUMNS), tmp_path / "data")


def captioned(catalog: Catalog, out: Path, ray: RaySettings) -> Any:
    settings, calls = CaptionSettings(device="cpu"), CallSettings()
    return write_captions(settings, catalog, out, calls, None, ray), load_captions(out)


def mined(catalog: Catalog, out: Path, ray: RaySettings) -> Any:
    settings, said, calls = InterestSettings(device="cpu"), ["a green disc"] * ITEMS, CallSettings()
    return write_interests(settings, catalog, said, out, None, calls, None, ray), load_interests(out)


def written(catalog: Catalog, out: Path, ray: RaySettings) -> Any:
    """Mine with a language model: what a random one writes passes as running text."""
    model = catalog.root.parent / "chat"
    if not model.exists():
        save_chat_model(model)
    settings = InterestSettings(
        generator="transformers", model=str(model), prompt_template="paraphrase", script="any", dtype="fp32",
        device="cpu", max_tokens=12,
    )  # fmt: skip
    facts = write_interests(settings, catalog, [None] * ITEMS, out, [], None, out / "responses.sqlite", ray)
    assert facts["distinct_tags"] > 5
    return facts, load_interests(out)


def embedded(catalog: Catalog, out: Path, ray: RaySettings) -> Any:
    settings, tags = EmbedSettings(device="cpu"), [["camper"]] * ITEMS
    return write_embeddings(settings, catalog, [None] * ITEMS, tags, out, None, ray), load_embeddings(out).tobytes()


def assigned(catalog: Catalog, out: Path, ray: RaySettings) -> Any:
    vectors_ND = np.random.default_rng(0).normal(size=(ITEMS, 6)).astype(np.float32)
    facts = assign_sids(
        SidSettings(codebook_sizes=(8, 8), quantizer="rqkmeans"), vectors_ND, catalog.item_ids, out, None, ray
    )
    return facts, SemanticIds.load(out).codes_NL.tobytes()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("stage", [captioned, mined, written, embedded, assigned])
def test_a_stage_is_the_local_one_row_for_row_though_a_worker_is_killed(
    stage: Callable[[Catalog, Path, RaySettings], Any], catalog: Catalog, tmp_path: Path, kills: list[int]
) -> None:
    for name in ("here", "ray"):
        (tmp_path / name).mkdir()
    here = stage(catalog, tmp_path / "here", LOCAL_EXECUTION)
    assert not kills
    assert stage(catalog, tmp_path / "ray", TWO) == here
    assert len(kills) == 1


def squaring() -> Callable[[int], int]:
    """Return a function that travels whole: a worker does not find this module."""

    def squared(number: int) -> int:
        if number == 3:
            raise ArtifactError("three is refused")
        if number == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return number**2

    return squared


def test_mistakes_come_back_and_a_block_that_kills_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "MAX_CONSECUTIVE_DEATHS", 2)
    start = partial(partial, squaring())
    team = make_executor(start, TWO)
    assert sorted(team.map([1, 2])) == [(0, 1), (1, 4)]
    assert sorted(team.map(np.arange(3).tolist())) == [(0, 0), (1, 1), (2, 4)]
    assert list(team.map([])) == []
    with pytest.raises(ArtifactError, match="three is refused"):
        list(team.map([3]))
    team.close()
    team = make_executor(start, TWO)
    with pytest.raises(RecipeError, match="last 2 workers on Ray died"):
        list(team.map([4]))
    team.close()


def handed_out() -> Callable[[int], tuple[int, list[Any]]]:
    """Return what tells a worker's process and the GPUs that Ray gave it; slow enough for both to be asked."""

    def told(number: int) -> tuple[int, list[Any]]:
        import ray

        time.sleep(0.5)
        return os.getpid(), ray.get_gpu_ids()

    return told


@pytest.mark.parametrize("gpus", [0, 1])
def test_each_worker_has_its_own_gpus(gpus: int) -> None:
    team = make_executor(partial(partial, handed_out()), RaySettings(address="local", num_workers=2, num_gpus=gpus))
    owners = {pid: tuple(map(int, ids)) for _, (pid, ids) in team.map(range(8))}
    team.close()
    assert len(owners) == 2
    assert sorted(owners.values()) == ([(0,), (1,)] if gpus else [(), ()])


WHOLE_RUN = """
import sys
from trialigngr.cli.main import main
try:
    main()
finally:
    print("on ray:", "ray" in sys.modules and sys.modules["ray"].is_initialized())
"""


def test_a_run_on_ray_ends_with_the_sids_of_a_local_run(tmp_path: Path, root: Path) -> None:
    """From the command line, each run in a process of its own: `--ray local` starts its own cluster.

    They do not lie side by side, or one would share the other's stages."""
    for name, on_ray in (("here", []), ("ray", ["--ray", "local"])):
        words = ["run", "trialigngr-demo", "--out", str(tmp_path / name / "run"), "--until", "sids", *tiny(), *on_ray]
        single = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
        start = [sys.executable, "-c", WHOLE_RUN, *words]
        done = subprocess.run(start, cwd=root, env=single, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"on ray: {bool(on_ray)}" in done.stdout
    for file in ("captions/captions.parquet", "interests/interests.parquet", "sids/sids.parquet"):
        here, ray = (pl.read_parquet(tmp_path / name / "run" / file) for name in ("here", "ray"))
        assert here.equals(ray)
        assert len(here) > 50
    here_ND, ray_ND = (load_embeddings(tmp_path / name / "run" / "embeddings") for name in ("here", "ray"))
    np.testing.assert_array_equal(here_ND, ray_ND)
