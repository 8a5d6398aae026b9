"""What a stage of language model calls will take: items, tokens, money, hours; from the ledger where it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trialigngr.llm.jobs import GenerationJob, iter_job_rows
from trialigngr.llm.response_cache import ResponseCache, ResponseOrigin
from trialigngr.llm.settings import CallSettings, GeneratorSettings

CHARACTERS_PER_TOKEN = 4
"""Of a token, about, in English."""
VISUAL_TOKEN_SIDE = 28
"""Pixels of a visual token's side."""
MAX_SAMPLE_ITEMS = 200
"""Most items whose prompts are looked at."""


@dataclass(frozen=True)
class CostEstimate:
    """What is left to do of one stage; items with one question (about one picture, say) are one. ``is_measured`` says
    whether tokens are means of finished calls; if not, the written ones are the most there can be. ``total_price`` is
    None where calls are paid for and no price is known, ``hours`` before anything was measured. ``server`` is where
    another machine is asked, and with what; ``done`` says that the stage is, so that it is asked no more than for
    ``num_remaining``."""

    stage: str
    generator: str
    num_items: int
    num_remaining: int
    prompt_tokens: int
    completion_tokens: int
    is_measured: bool
    total_price: float | None
    hours: float | None
    server: str = ""
    done: bool = False

    @property
    def may_cost_money(self) -> bool:
        """Whether what is left will cost money, or may, or is sent to another machine."""
        return (self.num_remaining > 0 and self.total_price != 0) or (
            bool(self.server) and not (self.done and self.num_remaining == 0)
        )

    def __str__(self) -> str:
        prices = f"calls.{self.stage}.prompt_price and calls.{self.stage}.completion_price"
        money = (
            f"no price known (set {prices}, for a million tokens)"
            if self.total_price is None
            else f"{self.total_price:,.2f}"
        )
        at = f" at {self.server}" if self.server else ""
        about = "about" if self.is_measured else "at most"
        hours = f"{self.hours:.1f} h at the rate of the last run" if self.hours is not None else "rate not measured yet"
        return (
            f"{self.num_remaining:,} of {self.num_items:,} to do by {self.generator}{at}: {about} "
            f"{self.prompt_tokens:,} tokens in and {self.completion_tokens:,} out, money {money}, {hours}"
        )


def estimate_cost(
    job: GenerationJob,
    settings: GeneratorSettings,
    recorded_settings: Mapping[str, Any],
    calls: CallSettings,
    cache_path: Path,
    num_items: int,
) -> CostEstimate:
    """Return what is left to do of a stage over ``num_items`` items. Nothing is claimed, and no server is asked."""
    rows = {row.key: row.number for row in iter_job_rows(job, recorded_settings, range(num_items))}
    to_do, taken, rate = len(rows), None, None
    if cache_path.exists():
        with ResponseCache(cache_path) as book:
            to_do = sum(state in ("granted", "taken") for state in book.read_states(rows, calls.max_runs))
            taken, rate = _mean_usage(book, job.origin), _items_per_second(book, job.origin)
    tokens_in, tokens_out = taken or _estimate_tokens(job, settings, [*rows.values()])
    read, written = round(tokens_in * to_do), round(tokens_out * to_do)
    priced = calls.prompt_price or calls.completion_price or not calls.may_cost_money
    money = (read * calls.prompt_price + written * calls.completion_price) / 1e6 if priced else None
    hours = to_do / rate / 3600 if rate else None
    key = f" with the key in {calls.api_key_env}" if calls.api_key_env else ""
    server = f"{calls.base_url}{key}" if settings.generator == "openai" and calls.away else ""
    name, measured = job.origin.generator, taken is not None
    return CostEstimate(job.origin.stage, name, len(rows), to_do, read, written, measured, money, hours, server)


def _mean_usage(cache: ResponseCache, origin: ResponseOrigin) -> tuple[float, float] | None:
    """Return the mean tokens read and written an item, None before there are any."""
    query = (
        "SELECT avg(tokens_in), avg(tokens_out) FROM answers"
        " WHERE state = 'done' AND stage = ? AND generator = ? AND prompt = ?"
    )
    ((read, written),) = cache.run_query(query, origin.stage, origin.generator, origin.prompt)
    return (read, written) if read else None


def _items_per_second(cache: ResponseCache, origin: ResponseOrigin) -> float | None:
    """Return the items a second of the last session that settled more than a few."""
    query = (
        "SELECT settled / max(last - began, 0.001) FROM sessions"
        " WHERE stage = ? AND generator = ? AND settled >= 10 ORDER BY began DESC LIMIT 1"
    )
    found = cache.run_query(query, origin.stage, origin.generator)
    return found[0][0] if found else None


def _estimate_tokens(job: GenerationJob, settings: GeneratorSettings, numbers: list[int]) -> tuple[float, float]:
    """Return tokens an item, read off the prompts of a few items; of a picture as many as its longest side allows."""
    sample = numbers[:: len(numbers) // MAX_SAMPLE_ITEMS + 1]
    if not sample:
        return 0.0, 0.0
    contents = [content for content in job.key_contents(sample) if content is not None]
    letters = sum(len(content[0]) for content in contents) / len(contents) + job.overhead_characters
    visual = (settings.longest_edge / VISUAL_TOKEN_SIDE) ** 2 if job.shows_images else 0
    return letters / CHARACTERS_PER_TOKEN + visual, float(settings.max_tokens)
