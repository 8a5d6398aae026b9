"""Interests (MDIM, Eq. 6): what kind of life an item fits into, as 2–4 tags with a confidence and one lifestyle."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import polars as pl
from pydantic import Field

from trialigngr.catalog.items import Catalog
from trialigngr.catalog.pictures import count_reasons
from trialigngr.enrich.answers import (
    AnswerError,
    Tag,
    generic,
    parse_interests,
    parse_tags,
    parse_text,
    refuse_other_script,
)
from trialigngr.enrich.asking import Desk, ask_about, ledger_for, paid_facts
from trialigngr.enrich.generator import Batches, CallSettings, Generator, GeneratorSettings, Question
from trialigngr.enrich.ledger import Origin
from trialigngr.enrich.models import MODELS, look
from trialigngr.enrich.prompts import Form, Prompt, read_prompt
from trialigngr.enrich.spread import spread
from trialigngr.enrich.text import ItemText, item_text
from trialigngr.foundation.crew import HERE, RaySettings
from trialigngr.foundation.errors import ArtifactError, RecipeError, did_you_mean

if TYPE_CHECKING:
    from trialigngr.enrich.vocabulary import Vocabulary

FILE = "interests.parquet"
CHUNK = 512
SAMPLE = 600
"""Most items from which a generator learns what is usual in the catalogue."""


class InterestSettings(GeneratorSettings):
    """How interests are mined."""

    generator: str = "lexicon"
    """Who mines them: `lexicon`, or a language model by `openai`, `transformers`, `vllm` or `smollm2` (packaged,
    small: plumbing); `none` mines none."""
    prompt: str = "interests"
    """What a language model is told: a packaged prompt (the controls of Table 9 are `keywords`, `summary`, `paraphrase`
    and `generic-tags`) or a .toml file."""
    choose_from: Literal["anything", "lexicon"] = "anything"
    """What a language model may say: `anything`, or the tags and lifestyles of the lexicon alone (for weak models, and
    where tags must be comparable)."""
    choices: int = Field(default=24, ge=8, le=96)
    """How many tags of the lexicon, those nearest to the item, a language model may choose from."""
    drop_low: bool = True
    """Leave out tags of low confidence."""
    use_captions: bool = True
    """Let the miner read the captions (false: "without CMSA")."""
    longest: int = Field(default=600, ge=1)
    """Characters kept of an answer in running text (`summary`, `paraphrase`)."""


@dataclass(frozen=True)
class Interests:
    """The interests of one item, the surest first. ``lifestyle`` is None when there is nothing to tell it from."""

    tags: tuple[Tag, ...] = ()
    lifestyle: str | None = None

    @property
    def names(self) -> list[str]:
        """The tags without their confidence."""
        return [tag.tag for tag in self.tags]


class InterestMiner(Protocol):
    """Reads items and tells interests. ``name`` is recorded with every row."""

    name: str

    def mine(self, texts: Sequence[ItemText]) -> list[Interests]:
        """Return the interests of each text, in order; none depends on the others (but for rounding)."""
        ...


def _lexicon(settings: InterestSettings, sample: Sequence[ItemText]) -> InterestMiner:
    from trialigngr.enrich.lexicon import LexiconMiner

    return LexiconMiner(sample, settings.device)


class NoMiner:
    """Tells no interests."""

    name = "none"

    def mine(self, texts: Sequence[ItemText]) -> list[Interests]:
        """Return no interests for each text."""
        return [Interests((), None) for _ in texts]


def _none(settings: InterestSettings, sample: Sequence[ItemText]) -> InterestMiner:
    return NoMiner()


MINERS: dict[str, Callable[[InterestSettings, Sequence[ItemText]], InterestMiner]] = {
    "lexicon": _lexicon,
    "none": _none,
}
"""Name of a miner by rule → how to start it, knowing a sample of the catalogue's texts."""


def start_miner(settings: InterestSettings, sample: Sequence[ItemText], calls: CallSettings) -> Generator:
    """Return the generator that the settings name; raise `RecipeError` when there is none of that name."""
    if settings.generator in MODELS:
        return MODELS[settings.generator](settings, calls, _form(settings))
    _refuse_unfit(settings)
    miner = MINERS[settings.generator](settings, sample)

    def mine(questions: list[Question]) -> list[str]:
        return [json.dumps(asdict(one)) for one in miner.mine([question.item for question in questions])]

    usual = sha256(json.dumps(sample).encode()).hexdigest()
    return Batches(miner.name, {"usual": usual}, CHUNK, mine)


def check_miner(settings: InterestSettings, calls: CallSettings, here: bool) -> None:
    """Raise a sentence when interests cannot be mined as the settings say; nothing is paid, no weights are loaded.

    ``here`` is False where workers elsewhere load the models: then only what they are told is looked at.
    """
    if settings.generator not in MODELS:
        return _refuse_unfit(settings)
    form = _form(settings)
    if here or settings.generator == "openai":
        look(settings, calls, form, pictures=False)


def _refuse_unfit(settings: InterestSettings) -> None:
    """Raise `RecipeError` for a miner that is not known, or that cannot do what the settings ask for."""
    if settings.generator not in MINERS:
        known = sorted([*MINERS, *MODELS])
        hint = did_you_mean(settings.generator, known)
        raise RecipeError(f"interests.generator = {settings.generator!r}: known are {', '.join(known)}.{hint}")
    if settings.choose_from != "anything":
        raise RecipeError(
            f"interests.choose_from is for language models, and interests.generator = {settings.generator!r} is none; "
            f"set it to one of {', '.join(MODELS)}."
        )
    if settings.prompt != "interests" and settings.generator != "none":
        raise RecipeError(
            f"interests.prompt = {settings.prompt!r} is for language models, and interests.generator = "
            f"{settings.generator!r} reads no prompt; set it to one of {', '.join(MODELS)}."
        )


def _form(settings: InterestSettings) -> Form:
    prompt = read_prompt(settings.prompt)
    if settings.choose_from != "anything" and not (prompt.answer == "interests" and prompt.choices):
        raise RecipeError(
            f"interests.choose_from = {settings.choose_from!r} needs a prompt that asks for interests and says what to "
            f"choose from (answer and choices in its file); interests.prompt = {settings.prompt!r} does not. "
            f'Leave the prompt or choose from "anything".'
        )
    return prompt.answer


def sample_texts(settings: InterestSettings, catalog: Catalog, captions: Sequence[str | None]) -> list[ItemText]:
    """Return an evenly spaced sample of what a generator reads: what is usual in this catalogue."""
    rows = range(0, len(catalog), len(catalog) // SAMPLE + 1)
    return [item_text(catalog[row], captions[row] if settings.use_captions else None) for row in rows]


class Mining:
    """What is asked about the texts of a catalogue (an `Inquiry`)."""

    def __init__(
        self, settings: InterestSettings, catalog: Catalog, captions: Sequence[str | None], generator: str
    ) -> None:
        self.settings, self.catalog, self.captions = settings, catalog, captions
        self.prompt: Prompt | None = read_prompt(settings.prompt) if settings.generator in MODELS else None
        self.origin = Origin("interests", generator, self.prompt.hash if self.prompt else "")
        self.vocabulary = self._vocabulary() if settings.choose_from == "lexicon" else None

    def _vocabulary(self) -> Vocabulary:
        from trialigngr.enrich.vocabulary import Vocabulary

        return Vocabulary(self._item, len(self.catalog), self.settings.choices, self.settings.device)

    @property
    def letters(self) -> int:
        """How many letters the system message has, about."""
        if self.prompt is None:
            return 0
        chosen = len(self.prompt.choices) + self.vocabulary.letters if self.vocabulary else 0
        return len(self.prompt.system) + chosen

    def content(self, number: int) -> tuple[str, ...]:
        """Return the text that the interests of an item depend on."""
        text = self._item(number)
        if self.prompt is None:
            return (json.dumps(text),)
        chosen = (self.vocabulary.identity, self.prompt.choices) if self.vocabulary else ()
        return (self.prompt.filled(text), *chosen)

    def question(self, number: int) -> Question:
        """Return the question about an item's text."""
        text = self._item(number)
        if self.prompt is None:
            return Question(number, text)
        choices = self.vocabulary.choices(number) if self.vocabulary else None
        system = self.prompt.offering(choices) if choices else self.prompt.system
        return Question(number, text, None, system, self.prompt.filled(text), choices)

    def _item(self, number: int) -> ItemText:
        return item_text(self.catalog[number], self.captions[number] if self.settings.use_captions else None)

    def check(self, answer: str) -> None:
        """Raise `AnswerError` when an answer is not what the prompt asked for."""
        if self.prompt is None:
            return
        said = self.said(answer)
        for text in (*said.names, said.lifestyle or ""):
            refuse_other_script([text], self.settings.script)
        if said.lifestyle and generic(said.lifestyle):
            raise AnswerError("a lifestyle that does not fit every item is needed")

    def said(self, answer: str) -> Interests:
        """Return the interests in an answer; plain tags and running text stand in their place, with high confidence."""
        if self.prompt is None:
            body = json.loads(answer)
            return Interests(tuple(Tag(*tag) for tag in body["tags"]), body["lifestyle"])
        if self.prompt.answer == "interests":
            return self._listed(*parse_interests(answer))
        plain = parse_tags(answer) if self.prompt.answer == "tags" else [parse_text(answer, self.settings.longest)]
        return Interests(tuple(Tag(tag, "high") for tag in plain))

    def _listed(self, tags: list[Tag], lifestyle: str | None) -> Interests:
        """Return the interests, spelled as in the vocabulary, if there is one; `AnswerError` when not all are in it."""
        if self.vocabulary is None:
            return Interests(tuple(tags), lifestyle)
        listed = self.vocabulary.listed
        spelled = tuple(Tag(listed("interests", one.tag), one.confidence) for one in tags)
        return Interests(spelled, lifestyle and listed("lifestyles", lifestyle))


def write_interests(
    settings: InterestSettings,
    catalog: Catalog,
    captions: Sequence[str | None],
    out: Path,
    usual: Sequence[ItemText] | None = None,
    calls: CallSettings | None = None,
    ledger: Path | None = None,
    ray: RaySettings = HERE,
) -> dict[str, Any]:
    """Write ``interests.parquet`` (item_id, tags, lifestyle, generator, problem) and return the facts.

    ``usual`` is the `sample_texts` of the catalogue that these items join, if it is not their own. An item about which
    no usable answer came has no tags, and a ``problem``. What a language model wrote is kept in ``ledger``, so that it
    is paid for once.
    """
    if len(captions) != len(catalog):
        raise ArtifactError(f"There are {len(captions)} captions for {len(catalog)} items; run the captions again.")
    calls = calls or CallSettings()
    # The same sample whenever a stage goes on, so that it ends as unbroken.
    sample = sample_texts(settings, catalog, captions) if usual is None else usual
    start = partial(start_miner, settings, sample, calls)
    with closing(spread(start, settings, calls, ray)) as generator:
        inquiry = Mining(settings, catalog, captions, generator.name)
        with ledger_for(out, ledger if inquiry.prompt else None) as book:
            kept = ask_about(inquiry, generator, Desk(book, calls), len(catalog), "Mining interests")
            said = [inquiry.said(one.text) if one and one.text else Interests() for one in kept]
            problems = [one.problem if one else None for one in kept]
            facts = _write(settings, catalog, said, problems, generator.name, out)
            return facts | paid_facts(book, inquiry) if inquiry.prompt else facts


def _write(
    settings: InterestSettings,
    catalog: Catalog,
    said: Sequence[Interests],
    problems: Sequence[str | None],
    name: str,
    out: Path,
) -> dict[str, Any]:
    rows = [_row(interests, settings.drop_low) for interests in said]
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "tags": pl.List(pl.Struct({"tag": pl.String, "confidence": pl.String})),
        "lifestyle": pl.String,
    }
    table = pl.DataFrame(rows, schema=schema).with_columns(
        item_id=pl.Series(catalog.ids, dtype=pl.String),
        generator=pl.lit(name),
        problem=pl.Series(problems, dtype=pl.String),
    )
    table.select("item_id", "tags", "lifestyle", "generator", "problem").write_parquet(out / FILE)
    return _facts(name, rows) | {"failed_answers": count_reasons(problems)}


def _row(interests: Interests, drop_low: bool) -> dict[str, Any]:
    kept = [tag._asdict() for tag in interests.tags if not (drop_low and tag.confidence == "low")]
    return {"tags": kept, "lifestyle": interests.lifestyle}


def _facts(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    tags = Counter(tag["tag"] for row in rows for tag in row["tags"])
    confidences = Counter(tag["confidence"] for row in rows for tag in row["tags"])
    return {
        "generator": name,
        "items_without_tags": sum(not row["tags"] for row in rows),
        "tags": tags.total(),
        "distinct_tags": len(tags),
        "most_frequent": dict(tags.most_common(10)),
        "confidence": dict(confidences.most_common()),
    }


def load_interests(folder: Path) -> list[Interests]:
    """Return the interests in row order."""
    table = pl.read_parquet(folder / FILE, columns=["tags", "lifestyle"])
    return [
        Interests(tuple(Tag(tag["tag"], tag["confidence"]) for tag in row["tags"]), row["lifestyle"])
        for row in table.iter_rows(named=True)
    ]
