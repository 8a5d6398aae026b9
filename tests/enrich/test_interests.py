from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest

from trialigngr.catalog.items import Catalog
from trialigngr.enrich import miners
from trialigngr.enrich.interests import INTERESTS_FILE, Interests, load_interests
from trialigngr.enrich.miners import MINERS
from trialigngr.enrich.mining import InterestJob, write_interests
from trialigngr.enrich.parsing import Tag
from trialigngr.enrich.settings import InterestSettings
from trialigngr.enrich.text import ItemText
from trialigngr.foundation.errors import ArtifactError, RecipeError
from trialigngr.llm.answers import ResponseError

MakeCatalog = Callable[..., Catalog]


class Echo:
    """Tells back what it read, as tags of every confidence."""

    def __init__(self, lives: int = 1_000_000) -> None:
        self.lives = lives

    def mine_interests(self, texts: Sequence[ItemText]) -> list[Interests]:
        self.lives -= len(texts)
        if self.lives < 0:
            raise KeyboardInterrupt
        return [
            Interests((Tag(text.title, "high"), Tag(text.caption or "unseen", "medium"), Tag("perhaps", "low")), "calm")
            for text in texts
        ]


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> InterestSettings:
    monkeypatch.setitem(MINERS, "echo", lambda settings, sample: Echo())
    return InterestSettings(generator="echo")


def test_what_is_written_is_what_is_read(make_catalog: MakeCatalog, echo: InterestSettings, tmp_path: Path) -> None:
    catalog = make_catalog({"title": "Tent"}, {"brand": "Acme", "categories": ["Outdoor", "Stoves"]})
    facts = write_interests(echo, catalog, ["green", None], tmp_path)
    assert load_interests(tmp_path) == [
        Interests((Tag("Tent", "high"), Tag("green", "medium")), "calm"),
        Interests((Tag("Acme Stoves 1", "high"), Tag("unseen", "medium")), "calm"),
    ]
    table = pl.read_parquet(tmp_path / INTERESTS_FILE)
    assert table.columns == ["item_id", "tags", "lifestyle", "generator", "problem"]
    assert table["generator"].to_list() == ["echo", "echo"]
    assert (facts["tags"], facts["items_without_tags"]) == (4, 0)
    assert facts["confidence"] == {"high": 2, "medium": 2}


def test_each_tag_and_the_lifestyle_must_be_of_the_script_and_say_something(make_catalog: MakeCatalog) -> None:
    mining = InterestJob(InterestSettings(generator="openai", model="m"), make_catalog({"title": "Tent"}), [None], "m")

    def answer(*tags: str, lifestyle: str | None = "slow days") -> str:
        return json.dumps({"interests": [{"tag": tag, "confidence": "high"} for tag in tags], "lifestyle": lifestyle})

    mining.check_response(answer("camper", "café goer", "stargazer"))
    for odd in (
        answer("camper", "weekend hiker", "любитель чая"),
        answer("camper", "weekend hiker", lifestyle="медленная жизнь"),
    ):
        with pytest.raises(ResponseError, match="written in latin letters"):
            mining.check_response(odd)
    for lifestyle in ("product", "Everyday lifestyle"):
        with pytest.raises(ResponseError, match="a lifestyle that does not fit every item"):
            mining.check_response(answer("camper", "stargazer", lifestyle=lifestyle))


def test_a_lifestyle_is_asked_for_and_missed(make_catalog: MakeCatalog) -> None:
    settings = InterestSettings(generator="openai", model="m")
    mining = InterestJob(settings, make_catalog({"title": "Tent"}), [None], "m")
    schema = mining.make_request(0).response_schema
    assert schema is not None
    assert schema["schema"]["required"] == ["interests", "lifestyle"]
    assert "one lifestyle of one to four words" in mining.make_request(0).system_prompt.replace("\n", " ")
    tags = [{"tag": tag, "confidence": "high"} for tag in ("camper", "stargazer")]
    for body in ({}, {"lifestyle": None}, {"lifestyle": ""}):
        answer = json.dumps({"interests": tags, **body})
        with pytest.raises(ResponseError, match='"lifestyle" must be one'):
            mining.check_response(answer)
        # Those that older ledgers keep are read all the same.
        assert mining.parse_response(answer) == Interests((Tag("camper", "high"), Tag("stargazer", "high")))
    plain = settings.model_copy(update={"prompt_template": "keywords"})
    InterestJob(plain, mining.catalog, [None], "m").check_response('{"tags": ["tent"]}')


def test_low_confidence_stays_when_wanted(make_catalog: MakeCatalog, echo: InterestSettings, tmp_path: Path) -> None:
    write_interests(
        echo.model_copy(update={"drop_low_confidence": False}), make_catalog({"title": "Tent"}), [None], tmp_path
    )
    assert load_interests(tmp_path)[0].tag_names == ["Tent", "unseen", "perhaps"]


def test_without_captions_the_miner_reads_none(
    make_catalog: MakeCatalog, echo: InterestSettings, tmp_path: Path
) -> None:
    settings = echo.model_copy(update={"use_captions": False})
    write_interests(settings, make_catalog({"title": "Tent"}), ["green"], tmp_path)
    assert load_interests(tmp_path)[0].tag_names == ["Tent", "unseen"]


def test_attributes_are_not_read(make_catalog: MakeCatalog, echo: InterestSettings, tmp_path: Path) -> None:
    plain = make_catalog({"title": "Tent"})
    catalog = Catalog(plain.table.with_columns(llm_text=pl.lit("secret")), plain.root)
    write_interests(echo, catalog, [None], tmp_path)
    assert "secret" not in str(load_interests(tmp_path))


def test_a_kill_costs_nothing_that_was_finished(
    make_catalog: MakeCatalog, echo: InterestSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(miners, "BATCH_SIZE", 2)
    catalog = make_catalog(*({"title": f"item {number}"} for number in range(7)))
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    unbroken.mkdir()
    broken.mkdir()
    write_interests(echo, catalog, [None] * 7, unbroken)
    monkeypatch.setitem(MINERS, "echo", lambda settings, sample: Echo(lives=4))
    with pytest.raises(KeyboardInterrupt):
        write_interests(echo, catalog, [None] * 7, broken)
    monkeypatch.setitem(MINERS, "echo", lambda settings, sample: Echo(lives=3))
    write_interests(echo, catalog, [None] * 7, broken)
    assert (broken / INTERESTS_FILE).read_bytes() == (unbroken / INTERESTS_FILE).read_bytes()


def test_mistakes_are_named(make_catalog: MakeCatalog, echo: InterestSettings, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="2 captions for 1 items"):
        write_interests(echo, make_catalog({"title": "a"}), [None, None], tmp_path)
    with pytest.raises(RecipeError, match=r"start `vllm serve MODEL`, and set interests.generator = \"openai\""):
        write_interests(InterestSettings(generator="vllm"), make_catalog({"title": "a"}), [None], tmp_path)
    with pytest.raises(RecipeError, match="Did you mean 'lexicon'"):
        write_interests(InterestSettings(generator="lexikon"), make_catalog({"title": "a"}), [None], tmp_path)
