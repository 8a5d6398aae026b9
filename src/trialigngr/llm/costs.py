"""What a stage of language model calls will take: items, tokens, money, hours; from the ledger where it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trialigngr.llm.generator import CallSettings, GeneratorSettings
from trialigngr.llm.jobs import Inquiry, rows_of
from trialigngr.llm.response_cache import Ledger, Origin

CHARACTERS = 4
"""Of a token, about, in English."""
VISUAL = 28
"""Pixels of a visual token's side."""
SAMPLE = 200
"""Most items whose prompts are looked at."""


@dataclass(frozen=True)
class Cost:
    """What is left to do of one stage; items with one question (about one picture, say) are one. ``measured`` says
    whether tokens are means of finished calls; if not, the written ones are the most there can be. ``money`` is None
    where calls are paid for and no price is known, ``hours`` before anything was measured. ``server`` is where another
    machine is asked, and with what; ``done`` says that the stage is, so that it is asked no more than for ``to_do``."""

    stage: str
    generator: str
    items: int
    to_do: int
    tokens_in: int
    tokens_out: int
    measured: bool
    money: float | None
    hours: float | None
    server: str = ""
    done: bool = False

    @property
    def due(self) -> bool:
        """Whether what is left will cost money, or may, or is sent to another machine."""
        return (self.to_do > 0 and self.money != 0) or (bool(self.server) and not (self.done and self.to_do == 0))

    def __str__(self) -> str:
        prices = f"calls.{self.stage}.price_in and calls.{self.stage}.price_out"
        money = f"no price known (set {prices}, for a million tokens)" if self.money is None else f"{self.money:,.2f}"
        at = f" at {self.server}" if self.server else ""
        about = "about" if self.measured else "at most"
        hours = f"{self.hours:.1f} h at the rate of the last run" if self.hours is not None else "rate not measured yet"
        return (
            f"{self.to_do:,} of {self.items:,} to do by {self.generator}{at}: {about} {self.tokens_in:,} tokens in and "
            f"{self.tokens_out:,} out, money {money}, {hours}"
        )


def cost_of(
    inquiry: Inquiry,
    settings: GeneratorSettings,
    recorded: Mapping[str, Any],
    calls: CallSettings,
    ledger: Path,
    total: int,
) -> Cost:
    """Return what is left to do of a stage over ``total`` items. Nothing is claimed, and no server is asked."""
    rows = {row.key: row.number for row in rows_of(inquiry, recorded, range(total))}
    to_do, taken, rate = len(rows), None, None
    if ledger.exists():
        with Ledger(ledger) as book:
            to_do = sum(state in ("granted", "taken") for state in book.states(rows, calls.retry_runs))
            taken, rate = _taken(book, inquiry.origin), _rate(book, inquiry.origin)
    tokens_in, tokens_out = taken or _guessed(inquiry, settings, [*rows.values()])
    read, written = round(tokens_in * to_do), round(tokens_out * to_do)
    priced = calls.price_in or calls.price_out or not calls.paid
    money = (read * calls.price_in + written * calls.price_out) / 1e6 if priced else None
    hours = to_do / rate / 3600 if rate else None
    key = f" with the key in {calls.key_variable}" if calls.key_variable else ""
    server = f"{calls.url}{key}" if settings.generator == "openai" and calls.away else ""
    name, measured = inquiry.origin.generator, taken is not None
    return Cost(inquiry.origin.stage, name, len(rows), to_do, read, written, measured, money, hours, server)


def _taken(book: Ledger, origin: Origin) -> tuple[float, float] | None:
    """Return the mean tokens read and written an item, None before there are any."""
    query = (
        "SELECT avg(tokens_in), avg(tokens_out) FROM answers"
        " WHERE state = 'done' AND stage = ? AND generator = ? AND prompt = ?"
    )
    ((read, written),) = book.select(query, origin.stage, origin.generator, origin.prompt)
    return (read, written) if read else None


def _rate(book: Ledger, origin: Origin) -> float | None:
    """Return the items a second of the last session that settled more than a few."""
    query = (
        "SELECT settled / max(last - began, 0.001) FROM sessions"
        " WHERE stage = ? AND generator = ? AND settled >= 10 ORDER BY began DESC LIMIT 1"
    )
    found = book.select(query, origin.stage, origin.generator)
    return found[0][0] if found else None


def _guessed(inquiry: Inquiry, settings: GeneratorSettings, numbers: list[int]) -> tuple[float, float]:
    """Return tokens an item, read off the prompts of a few items; of a picture as many as its longest side allows."""
    some = numbers[:: len(numbers) // SAMPLE + 1]
    if not some:
        return 0.0, 0.0
    contents = [content for content in inquiry.contents(some) if content is not None]
    letters = sum(len(content[0]) for content in contents) / len(contents) + inquiry.letters
    visual = (settings.long_side / VISUAL) ** 2 if inquiry.origin.stage == "captions" else 0
    return letters / CHARACTERS + visual, float(settings.max_tokens)
