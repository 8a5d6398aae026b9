"""HR, NDCG and MRR against a ten-line brute force, and against ranx."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from trialigngr.metrics.ranks import Ranks, compute_target_metrics, hit_rate

KS = (1, 5, 10)
RANX = """
import json, sys
from ranx import Qrels, Run, evaluate
body = json.load(sys.stdin)
qrels = Qrels({query: {item: 1} for query, item in body["wanted"].items()})
run = Run({query: {item: -place for place, item in enumerate(items)} for query, items in body["lists"].items()})
names = {f"{ours}@{k}": f"{theirs}@{k}" for k in body["ks"]
         for ours, theirs in (("HR", "hit_rate"), ("NDCG", "ndcg"), ("MRR", "mrr"))}
found = evaluate(qrels, run, list(names.values()), return_mean=False)
print(json.dumps({ours: [float(value) for value in found[theirs]] for ours, theirs in names.items()}))
"""


def some_lists(seed: int, users: int = 60, items: int = 40) -> tuple[list[list[int]], list[int]]:
    random = np.random.default_rng(seed)
    return [random.permutation(items).tolist()[:20] for _ in range(users)], random.integers(0, items, users).tolist()


def ranks_in(lists: list[list[int]], wanted: list[int]) -> Ranks:
    ahead = [rows.index(row) if row in rows else 1 << 40 for rows, row in zip(lists, wanted, strict=True)]
    return Ranks(np.array(ahead), np.ones(len(ahead), np.int64))


@pytest.mark.parametrize("seed", range(5))
def test_hit_rate_is_what_ten_lines_count(seed: int) -> None:
    lists, wanted = some_lists(seed)
    for k in KS:
        hits = 0
        for user, rows in enumerate(lists):
            for place, row in enumerate(rows):
                if place < k and row == wanted[user]:
                    hits += 1
        assert hit_rate(ranks_in(lists, wanted), k).mean() == pytest.approx(hits / len(lists))


def test_ties_are_the_mean_over_every_order() -> None:
    random = np.random.default_rng(0)
    ahead, tied = random.integers(0, 12, 50), random.integers(1, 5, 50)
    found = compute_target_metrics(Ranks(ahead, tied), KS)
    for name, values in found.items():
        orders = [
            np.mean(
                [
                    compute_target_metrics(ranks_in([list(range(20))], [first + own]), KS)[name][0]
                    for own in range(width)
                ]
            )
            for first, width in zip(ahead.tolist(), tied.tolist(), strict=True)
        ]
        np.testing.assert_allclose(values, orders)


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("ranx") is None, reason="needs ranx")
def test_equals_ranx() -> None:
    lists, wanted = some_lists(7, users=200)
    body = {
        "ks": KS,
        "wanted": {f"u{user:03d}": f"i{row}" for user, row in enumerate(wanted)},
        "lists": {f"u{user:03d}": [f"i{row}" for row in rows] for user, rows in enumerate(lists)},
    }
    # In a process of its own: what ranx imports warns, and without its compiler a second saves a minute.
    done = subprocess.run(
        [sys.executable, "-c", RANX],
        input=json.dumps(body),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
    )
    theirs = json.loads(done.stdout)
    ours = compute_target_metrics(ranks_in(lists, wanted), KS)
    assert set(ours) == set(theirs)
    for name, values in ours.items():
        np.testing.assert_allclose(values, theirs[name], rtol=1e-9, err_msg=name)
    assert any(0 < value < 1 for value in theirs["NDCG@10"])
