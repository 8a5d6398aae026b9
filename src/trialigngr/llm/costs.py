"""What a job of language model calls will take: items, tokens, money, hours; measured where there are responses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trialigngr.llm.jobs import GenerationJob, iter_job_rows
from trialigngr.llm.response_cache import ResponseCache, ResponseOrigin
from trialigngr.llm.settings import GeneratorSettings, ServerSettings

CHARACTERS_PER_TOKEN = 4
"""Of a token, about, in English."""
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
        server = f"calls.{self.stage}.openai"
        money = (
            f"no price known (set {server}.prompt_price and {server}.completion_price, for a million tokens)"
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
    server: ServerSettings,
    max_runs: int,
    cache_path: Path,
    num_items: int,
) -> CostEstimate:
    """Return what is left to do of a stage over ``num_items`` items. Nothing is leased, and no server is asked."""
    _, recorded_settings = settings.identify_model(settings.generator)
    rows = {row.key: row.number for row in iter_job_rows(job, recorded_settings, range(num_items))}
    num_remaining, usage, rate = len(rows), None, None
    if cache_path.exists():
        with ResponseCache(cache_path) as cache:
            num_remaining = sum(state in ("open", "leased") for state in cache.read_states(rows, max_runs))
            usage, rate = _mean_usage(cache, job.origin), _items_per_second(cache, job.origin)
    tokens = usage or _estimate_tokens(job, settings, [*rows.values()])
    prompt_tokens, completion_tokens = (round(mean * num_remaining) for mean in tokens)
    is_paid = settings.generator == "openai"
    return CostEstimate(
        job.origin.stage,
        job.origin.generator,
        len(rows),
        num_remaining,
        prompt_tokens,
        completion_tokens,
        is_measured=usage is not None,
        total_price=_price_tokens(server, prompt_tokens, completion_tokens) if is_paid else 0.0,
        hours=num_remaining / rate / 3600 if rate else None,
        server=_describe_remote(server) if is_paid else "",
    )


def _price_tokens(server: ServerSettings, prompt_tokens: int, completion_tokens: int) -> float | None:
    """Return what tokens cost; None where they cost something and no price is known."""
    if server.may_cost_money and not (server.prompt_price or server.completion_price):
        return None
    return (prompt_tokens * server.prompt_price + completion_tokens * server.completion_price) / 1e6


def _describe_remote(server: ServerSettings) -> str:
    """Return the url of a server, and which key it is shown; empty for one on this machine."""
    key = f" with the key in {server.api_key_env}" if server.api_key_env else ""
    return f"{server.base_url}{key}" if server.is_remote else ""


def _mean_usage(cache: ResponseCache, origin: ResponseOrigin) -> tuple[float, float] | None:
    """Return the mean tokens read and written an item, None before there are any."""
    query = (
        "SELECT avg(prompt_tokens), avg(completion_tokens) FROM responses"
        " WHERE state = 'done' AND stage = ? AND generator = ? AND prompt = ?"
    )
    ((read, written),) = cache.run_query(query, origin.stage, origin.generator, origin.prompt)
    return (read, written) if read else None


def _items_per_second(cache: ResponseCache, origin: ResponseOrigin) -> float | None:
    """Return the items a second of the last session that finished more than a few."""
    query = (
        "SELECT finished / max(updated - started, 0.001) FROM sessions"
        " WHERE stage = ? AND generator = ? AND finished >= 10 ORDER BY started DESC LIMIT 1"
    )
    rates = cache.run_query(query, origin.stage, origin.generator)
    return rates[0][0] if rates else None


def _estimate_tokens(job: GenerationJob, settings: GeneratorSettings, numbers: list[int]) -> tuple[float, float]:
    """Return tokens an item, read off the prompts of a few items; of a picture as many as its longest side allows."""
    sample = numbers[:: len(numbers) // MAX_SAMPLE_ITEMS + 1]
    if not sample:
        return 0.0, 0.0
    contents = [content for content in job.key_contents(sample) if content is not None]
    letters = sum(len(content[0]) for content in contents) / len(contents) + job.overhead_characters
    return letters / CHARACTERS_PER_TOKEN + job.image_tokens, float(settings.max_tokens)
