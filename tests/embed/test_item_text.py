from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trialigngr.catalog.items import Item
from trialigngr.embed.text import make_enriched_text, trim_title
from trialigngr.pretrained.minilm import MAX_TOKENS, load_minilm

ITEM = Item(
    "b1", "Kestrel 2", "Pitch it in a downpour.", "Acme", ("Outdoor", "Tents"), attributes={"llm_text": "secret"}
)


def test_the_order_of_the_parts() -> None:
    text = make_enriched_text(ITEM, ["rainy-day camper", "backpacker"], "A green subject.")
    assert text.split("\n") == [
        "Kestrel 2",
        "rainy-day camper; backpacker",
        "Acme",
        "Outdoor, Tents",
        "Pitch it in a downpour.",
        "A green subject.",
    ]


def test_interests_may_stand_at_the_end() -> None:
    text = make_enriched_text(ITEM, ["rainy-day camper"], "A green subject.", "interests_last")
    lines = ["Kestrel 2", "Acme", "Outdoor, Tents", "Pitch it in a downpour.", "A green subject.", "rainy-day camper"]
    assert text.split("\n") == lines


def test_missing_parts_leave_no_gap() -> None:
    assert make_enriched_text(Item("b1", "Kestrel 2")) == "Kestrel 2"
    assert (
        make_enriched_text(Item("b1", brand="Acme", categories=("Outdoor", "Tents")))
        == "Acme Tents b1\nAcme\nOutdoor, Tents"
    )
    assert make_enriched_text(Item("b1")) == "b1"


def test_attributes_never_enter() -> None:
    assert "secret" not in make_enriched_text(ITEM, ["camper"], "green")


def test_tags_survive_a_description_of_any_length() -> None:
    tags = ["rainy-day camper", "sustainable living advocate", "campfire cook", "backpacker"]
    long = Item("b1", "word " * 100_000, "description " * 10_000, "Acme " * 10_000, ("Tents " * 10_000,))
    tokenizer = load_minilm("cpu").tokenizer
    read = tokenizer.decode(
        tokenizer(make_enriched_text(long, tags, "caption " * 9999), truncation=True, max_length=MAX_TOKENS)[
            "input_ids"
        ]
    )
    for tag in tags:
        assert tag.replace("-", " ") in read.replace(" - ", " ")


def two_a_letter(text: str) -> list[int]:
    return [place for place in range(1, len(text) + 1) for _ in range(2)]


def test_a_title_is_cut_to_whole_letters_that_leave_room() -> None:
    """Two tokens a letter: the tags take 8 of 21 and leave 13; half of 13 is 6; 28 are enough for both."""
    text = "abcdefghij\ntags\nmore"
    shown = {room: trim_title(text, room, two_a_letter).split("\n")[0] for room in (6, 13, 21, 27, 28)}
    assert shown == {6: "a", 13: "abc", 21: "abcdef", 27: "abcdefghi", 28: "abcdefghij"}
    assert trim_title("abcdefghij", 2, two_a_letter) == "abcdefghij"


@given(title=st.text(min_size=1), tags=st.lists(st.text(min_size=1), max_size=4), description=st.text())
def test_each_part_stays_on_its_line(title: str, tags: list[str], description: str) -> None:
    lines = make_enriched_text(Item("b1", title, description), tags).split("\n")
    assert len(lines) <= 3
    assert all(line.strip() for line in lines)
