"""`trialigngr serve` on the loopback: how fast it answers, beside a plain FastAPI route and beside the bare library.

The run is a demo of a few steps; ``TRIALIGNGR_BENCH_RUN`` names a finished run to ask instead. Clients are a process of
their own. What is compared takes turns, and of the rounds the median counts. ``TRIALIGNGR_BENCH_SECONDS`` (4) is how
long each of the clients' turns is, ``TRIALIGNGR_BENCH_REQUESTS`` (50,000) over how many requests memory is watched.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.harness import Check, at_least, below
from benchmarks.requests import QUICK
from benchmarks.serving.clients import Answers
from benchmarks.serving.processes import Server, ask, ask_meanwhile, start_server
from trialigngr.pipeline.execute import run
from trialigngr.runs.request import RecommendRequest
from trialigngr.runs.run import Run, load

SECONDS = float(os.environ.get("TRIALIGNGR_BENCH_SECONDS", "4"))
REQUESTS = int(os.environ.get("TRIALIGNGR_BENCH_REQUESTS", "50000"))
CLIENTS, ROUNDS, USERS, K = (1, 8, 64), 3, 500, 10
MOST = CLIENTS[-1]
ADMIN_KEY = "admin-key-of-the-benchmark"


@dataclass(frozen=True)
class Turn:
    """A round: what clients saw by server and number of clients, and what the library does without one."""

    answers: dict[tuple[str, int], Answers]
    bare_rate: float
    bare_ms: float


def measure() -> list[Check]:
    """Return rates, what they are beside others, and what happens under too much load, in time and at changes."""
    with tempfile.TemporaryDirectory() as folder:
        given = os.environ.get("TRIALIGNGR_BENCH_RUN")
        made = load(given) if given else run("trialigngr-demo", None, Path(folder) / "run", changes=QUICK)
        users = made.artifacts.histories.user_ids[:USERS]
        histories = [made.user_history(user) for user in users]
        requests = Path(folder) / "requests.jsonl"
        bodies = [{"path": "/v1/recommendations", "body": {"history": own, "k": K}} for own in histories]
        requests.write_text("".join(f"{json.dumps(body)}\n" for body in bodies), "utf-8")
        return [
            *_compare_rates(made, histories, requests),
            *_watch_overload(made, requests),
            *_watch_memory(made, requests),
            *_watch_reloads(made, requests, Path(folder)),
        ]


def _compare_rates(made: Run, histories: list[list[str]], requests: Path) -> list[Check]:
    words = ("trialigngr", "serve", made.folder, "--port", "0")
    with start_server(*words) as ours, start_server("benchmarks.serving.plain", made.folder) as plain:
        servers = {"ours": ours, "plain": plain}
        seen = [_take_turn(made, histories, requests, servers) for _ in range(ROUNDS + 1)][1:]  # the first one warms
    checks = []
    for clients in CLIENTS:
        for name in ("ours", "plain"):
            of_round = [turn.answers[name, clients] for turn in seen]
            asked = f"{name}, {clients} clients" if clients > 1 else f"{name}, one client"
            checks += [
                at_least(asked, median(one.rate for one in of_round), 0, "requests/s"),
                at_least(f"{asked}: p50", median(one.find_percentile(50) for one in of_round), 0, "ms"),
                at_least(f"{asked}: p99", median(one.find_percentile(99) for one in of_round), 0, "ms"),
                below(f"{asked}: failures", sum(one.count_others("200") for one in of_round), 1),
            ]
    ratio = median(turn.answers["ours", MOST].rate / turn.answers["plain", MOST].rate for turn in seen)
    added = median(turn.bare_rate / turn.answers["ours", MOST].rate - 1 for turn in seen)
    added_ms = median(turn.answers["ours", 1].find_percentile(50) - turn.bare_ms for turn in seen)
    return [
        *checks,
        at_least(f"ours / plain, {MOST} clients", ratio, 3),
        at_least(f"bare recommend_many of {MOST}", median(turn.bare_rate for turn in seen), 0, "requests/s"),
        below(f"what the service adds to it, {MOST} clients", 100 * added, 15, "%"),
        below("what the service adds to one request", added_ms, 5, "ms"),
    ]


def _take_turn(made: Run, histories: list[list[str]], requests: Path, servers: Mapping[str, Server]) -> Turn:
    answers = {
        (name, clients): ask(server, requests, clients=clients, seconds=SECONDS)
        for clients in CLIENTS
        for name, server in servers.items()
    }
    together, alone = (_time_calls(made, histories, size) for size in (MOST, 1))
    return Turn(answers, MOST / median(together), 1000 * median(alone))


def _time_calls(made: Run, histories: list[list[str]], size: int) -> list[float]:
    """Return the seconds of each call of ``size`` requests, for about as long as clients ask."""
    asked, taken, begun = cycle(histories), list[float](), perf_counter()
    while perf_counter() - begun < SECONDS or not taken:
        some = [RecommendRequest(history, K, skip_unknown=True) for history in islice(asked, size)]
        start = perf_counter()
        made.recommend_many(some)
        taken.append(perf_counter() - start)
    return taken


def _watch_overload(made: Run, requests: Path) -> list[Check]:
    """Return what becomes of more requests than may wait, and of the check whether the server lives."""
    lives = requests.with_name("live.jsonl")
    lives.write_text(json.dumps({"path": "/health/live"}) + "\n", "utf-8")
    words = ("--port", "0", "--max-waiting", "8", "--max-batch", "8")
    with (
        start_server("trialigngr", "serve", made.folder, *words) as server,
        ask_meanwhile(server, requests, clients=MOST, seconds=2 * SECONDS, pause=0.01) as asked,
    ):
        live = ask(server, lives, seconds=2 * SECONDS - 1, pause=0.02)
        answers = asked.result()
    return [
        at_least("overload: answers 200", answers.statuses.get("200", 0), 1),
        at_least("overload: answers 429", answers.statuses.get("429", 0), 1),
        below("overload: other answers", answers.count_others("200", "429") + live.count_others("200"), 1),
        below("overload: live check, p99", live.find_percentile(99), 50, "ms"),
        at_least("overload: live check, slowest", live.find_percentile(100), 0, "ms"),
    ]


def _watch_memory(made: Run, requests: Path) -> list[Check]:
    """Return how much memory a server takes after many requests beside after a fifth of them."""
    with start_server("trialigngr", "serve", made.folder, "--port", "0") as server:
        first = ask(server, requests, clients=MOST, number=REQUESTS // 5)
        before = server.read_memory()
        rest = ask(server, requests, clients=MOST, number=REQUESTS - REQUESTS // 5)
        after = server.read_memory()
    return [
        below(f"memory: failures in {REQUESTS:,} requests", first.count_others("200") + rest.count_others("200"), 1),
        at_least("memory after a fifth of them", before / 2**20, 0, "MiB"),
        below("memory after all, beside that", after / before, 1.05),
    ]


def _watch_reloads(made: Run, requests: Path, folder: Path) -> list[Check]:
    """Return how many requests fail while the catalogue changes."""
    copy, keys = folder / "copy", folder / "keys"
    shutil.copytree(made.folder, copy, ignore=shutil.ignore_patterns(".lock"))
    keys.write_text(ADMIN_KEY + "\n", "utf-8")
    words = ("trialigngr", "serve", copy, "--port", "0", "--admin-key-file", keys)
    with start_server(*words) as server, ask_meanwhile(server, requests, clients=8, seconds=2 * SECONDS) as asked:
        changes, begun = 0, perf_counter()
        while perf_counter() - begun < 2 * SECONDS - 1:
            _withdraw(server, made.artifacts.catalog.item_ids[changes])
            changes += 1
        answers = asked.result()
    return [
        at_least("reload: catalogues taken up", changes, 1),
        at_least("reload: requests meanwhile", len(answers.milliseconds), 1),
        at_least("reload: p99", answers.find_percentile(99), 0, "ms"),
        below("reload: failures", answers.count_others("200"), 1),
    ]


def _withdraw(server: Server, item_id: str) -> None:
    asked = urllib.request.Request(  # the server of this benchmark
        f"{server.address}/v1/catalogue/withdraw",
        json.dumps({"item_ids": [item_id]}).encode(),
        {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked) as answer:
        assert json.load(answer)["changed"]
