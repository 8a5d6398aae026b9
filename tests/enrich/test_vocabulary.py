"""A closed vocabulary: what is shown, what the schema allows, what is refused, and what is paid again."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.servers.chat import MODEL, Script, chat_server, stats
from benchmarks.servers.mining import make_calls
from trialigngr.catalog.items import Catalog
from trialigngr.enrich import tag_vocabulary as vocabulary
from trialigngr.enrich.interests import load_interests
from trialigngr.enrich.lexicon import read_lexicon
from trialigngr.enrich.miners import check_miner
from trialigngr.enrich.mining import InterestJob, write_interests
from trialigngr.enrich.parsing import parse_interests
from trialigngr.enrich.response_schemas import Choices, make_response_schema
from trialigngr.enrich.settings import InterestSettings
from trialigngr.enrich.tag_vocabulary import BATCH_SIZE, TagVocabulary
from trialigngr.enrich.text import ItemText
from trialigngr.foundation.errors import RecipeError
from trialigngr.llm.answers import ResponseError
from trialigngr.llm.backends import LANGUAGE_MODELS
from trialigngr.llm.chat_protocol import make_response_format
from trialigngr.llm.generator import GenerationRequest, GenerationResponse
from trialigngr.llm.settings import BackendSettings

LEXICON = {kind: tuple(names) for kind, names in read_lexicon().items()}
MakeCatalog = Callable[..., Catalog]
SETTINGS = InterestSettings(
    generator="openai", model="m", tag_vocabulary="lexicon", num_choices=8, drop_low_confidence=False
)


class Alphabet:
    """Finds those nearest that stand from the title's length on in the lexicon."""

    asked: list[int]

    def find_nearest_names(self, texts: list[ItemText], kind: str, count: int) -> list[tuple[str, ...]]:
        self.asked.append(len(texts))
        return [LEXICON[kind][len(text.title) :][:count] for text in texts]


@pytest.fixture(autouse=True)
def alphabet(monkeypatch: pytest.MonkeyPatch) -> Alphabet:
    found = Alphabet()
    found.asked = []
    monkeypatch.setattr(vocabulary, "_load_miner", lambda device: found)
    return found


def words(schema: dict[str, Any]) -> Iterator[str]:
    """Yield every way to fill a schema of objects, tuples and enumerations, as JSON."""
    if "enum" in schema:
        yield from map(json.dumps, schema["enum"])
    elif "prefixItems" in schema:
        for some in itertools.product(*(list(words(one)) for one in schema["prefixItems"])):
            yield f"[{', '.join(some)}]"
    else:
        parts = schema["properties"]
        for some in itertools.product(*(list(words(one)) for one in parts.values())):
            yield "{" + ", ".join(f'"{name}": {one}' for name, one in zip(parts, some, strict=True)) + "}"


def test_a_map_is_for_the_language_model_alone(make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    monkeypatch.setattr(vocabulary, "_load_miner", lambda device: found.append(device) or Alphabet())
    monkeypatch.setattr(Alphabet, "asked", [], raising=False)
    spread = SETTINGS.model_copy(update={"generator": "transformers", "device": "map"})
    for settings in (spread, SETTINGS.model_copy(update={"device": "cpu"})):
        InterestJob(settings, make_catalog({"title": "a"}), [None], "m").make_request(0)
    assert found == ["auto", "cpu"]


def test_whatever_the_schema_allows_can_be_used() -> None:
    schema = make_response_schema("interests", Choices(LEXICON["interests"][:6], LEXICON["lifestyles"][:2]))
    assert schema is not None
    answers = list(words(schema["schema"]))
    assert len(answers) == 2 * 2 * 1 * 1 * 3**4 * 2  # six tags dealt to four places, a confidence each, two lifestyles
    for answer in answers:
        tags, lifestyle = parse_interests(answer)
        assert len({tag.tag for tag in tags}) == 4
        assert lifestyle in LEXICON["lifestyles"]


def test_the_choices_are_dealt_out_whole() -> None:
    schema = make_response_schema("interests", Choices(LEXICON["interests"][:24], LEXICON["lifestyles"][:8]))
    assert schema is not None
    places = schema["schema"]["properties"]["interests"]["prefixItems"]
    hands = [place["properties"]["tag"]["enum"] for place in places]
    assert [len(hand) for hand in hands] == [6] * 4
    assert [hand[0] for hand in hands] == list(LEXICON["interests"][:4])  # the nearest four can be said together
    assert sorted(itertools.chain(*hands)) == sorted(LEXICON["interests"][:24])


def test_every_name_of_the_lexicon_is_a_tag_by_the_strict_rules() -> None:
    for names in LEXICON.values():
        for one, other in itertools.pairwise(names):
            rows = [{"tag": name, "confidence": "low"} for name in (one, other)]
            tags, lifestyle = parse_interests(json.dumps({"interests": rows, "lifestyle": one}))
            assert [*[tag.tag for tag in tags], lifestyle] == [one, other, one]


def test_an_item_is_shown_its_own_choices_and_blocks_are_found_once(
    make_catalog: MakeCatalog, alphabet: Alphabet
) -> None:
    catalog = make_catalog(*({"title": "t" * (n % 7 + 1)} for n in range(BATCH_SIZE + 3)))
    mining = InterestJob(SETTINGS, catalog, [None] * len(catalog), "openai:m")
    request = mining.make_request(BATCH_SIZE + 2)
    length = (BATCH_SIZE + 2) % 7 + 1
    choices = Choices(LEXICON["interests"][length:][:8], LEXICON["lifestyles"][length:][:2])
    assert request.response_schema == make_response_schema("interests", choices)
    assert request.system_prompt.endswith(
        f"from this list: {'; '.join(choices.tags)}.\n"
        f"Choose the lifestyle, word for word, from this list: {'; '.join(choices.lifestyles)}."
    )
    assert mining.make_request(BATCH_SIZE).response_schema != request.response_schema
    assert alphabet.asked == [3, 3]  # one block, its tags and its lifestyles


def test_a_key_depends_on_the_vocabulary_and_finds_no_choices(make_catalog: MakeCatalog, alphabet: Alphabet) -> None:
    catalog = make_catalog({"title": "a"})
    some, free = (InterestJob(one, catalog, [None], "m") for one in (SETTINGS, InterestSettings(generator="openai")))
    more = InterestJob(SETTINGS.model_copy(update={"num_choices": 12}), catalog, [None], "m")
    first, second, third = (next(one.key_contents([0])) for one in (some, free, more))
    assert len({first, second, third}) == 3
    assert second == first[:1]
    assert some.overhead_characters > free.overhead_characters
    assert alphabet.asked == []


def said(*tags: str, lifestyle: str) -> str:
    return json.dumps({"interests": [{"tag": tag, "confidence": "high"} for tag in tags], "lifestyle": lifestyle})


def test_what_is_not_on_the_list_is_refused_and_spelling_is_the_lexicons(make_catalog: MakeCatalog) -> None:
    mining = InterestJob(SETTINGS, make_catalog({"title": "a"}), [None], "m")
    first, second = LEXICON["interests"][:2]
    life = LEXICON["lifestyles"][0]
    assert mining.parse_response(said(first.upper(), second, lifestyle=life.title())).tag_names == [first, second]
    for answer in (
        said(first, "odd", lifestyle=life),
        said(first, life, lifestyle=life),
        said(first, second, lifestyle=second),
    ):
        with pytest.raises(ResponseError, match="must stand on their lists"):
            mining.check_response(answer)


def test_about_as_many_letters_as_are_told() -> None:
    some = TagVocabulary(lambda number: ItemText("ten letter"), 1, 24)
    tags, lifestyles = some.find_choices(0)
    assert some.choice_characters == pytest.approx(len("; ".join([*tags, *lifestyles])), rel=0.2)


def test_a_model_that_is_shown_choices_is_asked_about_them_alone(
    make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a schema too: the choices stand in the words, and an answer outside them is asked for again."""

    class Choosing:
        """Answers with a tag that is not on the list, and when told so with one that is."""

        name, settings, max_in_flight = "m", dict[str, Any](), 1

        def submit(self, request: GenerationRequest) -> None:
            self.request = request

        def collect(self, wait: bool) -> list[GenerationResponse]:
            listed = re.findall(r"from this list: (.*)\.", self.request.system_prompt)
            tags, lifestyles = (line.split("; ") for line in listed)
            first = tags[0] if "must stand on their lists" in self.request.user_prompt else "tall tale teller"
            return [GenerationResponse(self.request.number, said(first, tags[1], lifestyle=lifestyles[0]))]

        def close(self) -> None:
            """Have nothing to let go of."""

    monkeypatch.setitem(LANGUAGE_MODELS, "openai", lambda settings, calls: Choosing())
    facts = write_interests(SETTINGS, make_catalog({"title": "a"}), [None], tmp_path, [], None, tmp_path / "l.sqlite")
    assert facts["calls"] == 2
    assert load_interests(tmp_path)[0].tag_names == list(LEXICON["interests"][1:3])


def test_a_server_is_sent_the_schema_of_each_item(make_catalog: MakeCatalog, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"model": MODEL})
    catalog = make_catalog({"title": "item 1"}, {"title": "item 22"})
    with chat_server(Script()) as url:
        calls = make_calls(url, max_concurrency=1)
        facts = write_interests(settings, catalog, [None] * 2, tmp_path, [], calls, tmp_path / "l.sqlite")
        bodies = stats(url)["bodies"]
    assert facts["failed_items"] == {"tags and lifestyle must stand on their lists, word for word": 2}
    for body, length in zip(bodies[::2], (6, 7), strict=True):
        choices = Choices(LEXICON["interests"][length:][:8], LEXICON["lifestyles"][length:][:2])
        schema = make_response_schema("interests", choices)
        assert schema is not None
        assert body["response_format"] == json.loads(json.dumps(make_response_format(schema)))


def test_mistakes_are_named() -> None:
    with pytest.raises(RecipeError, match="is for language models"):
        check_miner(InterestSettings(tag_vocabulary="lexicon"), BackendSettings(), is_local=True)
    with pytest.raises(RecipeError, match="Leave the prompt or set it to"):
        check_miner(SETTINGS.model_copy(update={"prompt_template": "summary"}), BackendSettings(), is_local=True)
