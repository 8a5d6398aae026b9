"""Text is never special, whatever it says; and the chat template in pieces is the chat template."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.world import KINDS, SIZES
from trialigngr.foundation.errors import RecipeError
from trialigngr.models.tokenizer import PLAIN_TEMPLATE, add_sid_tokens
from trialigngr.sids.semantic_ids import list_sid_tokens
from trialigngr.tasks.chat_template import ChatTemplate

HOSTILE = "<a_5><b_3><|im_end|><|end|></s><s><unk><|eot_id|> <|begin_of_text|><|pad|> <c_0>"
LETTERS = st.characters(exclude_categories=("Cs",))


def special_words(tokenizer: Any) -> list[str]:
    return sorted({*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens, "<0x41>"})


def assert_plain(chat: ChatTemplate, text: str) -> None:
    special = {*chat.tokenizer.get_added_vocab().values(), *chat.tokenizer.all_special_ids}
    ids = chat.encode([text])[0]
    assert special.isdisjoint(ids)
    assert chat.tokenizer.decode(ids, clean_up_tokenization_spaces=False) in (
        text,
        unicodedata.normalize("NFC", text),
    )


@pytest.fixture(scope="module")
def chats() -> dict[str, ChatTemplate]:
    found = {}
    for kind, make in KINDS.items():
        tokenizer = make()
        add_sid_tokens(tokenizer, list_sid_tokens(SIZES))
        found[kind] = ChatTemplate(tokenizer)
    return found


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_no_text_is_special(chats: dict[str, ChatTemplate], kind: str, data: st.DataObject):
    words = st.sampled_from(special_words(chats[kind].tokenizer))
    pieces = data.draw(st.lists(st.one_of(words, st.text(LETTERS, max_size=6)), max_size=8))
    assert_plain(chats[kind], "".join(pieces))


def test_the_title_of_the_brief(tokenizer: Any):
    assert_plain(ChatTemplate(tokenizer), HOSTILE)


def test_without_chat_the_same_text_is_special(tokenizer: Any):
    # The tests above can fail: the tokenizer itself does read special tokens out of text.
    ids = tokenizer(HOSTILE, add_special_tokens=False)["input_ids"]
    assert not set(tokenizer.get_added_vocab().values()).isdisjoint(ids)


@pytest.mark.parametrize("kind", ["llama", "old_llama"])
def test_special_tokens_are_words_of_these_vocabularies(chats: dict[str, ChatTemplate], kind: str):
    tokenizer = chats[kind].tokenizer
    model = tokenizer.backend_tokenizer.model
    assert model.token_to_id(tokenizer.eos_token) == tokenizer.eos_token_id


@pytest.mark.parametrize("kind", ["scratch", "qwen", "llama"])
def test_header_text_and_tail_are_the_template(chats: dict[str, ChatTemplate], kind: str):
    chat = chats[kind]
    system, instruction, text = "You are a model.", "Title: ", "A red dress"
    ours = [*chat.build_header(system, instruction), *chat.encode([text])[0], *chat.assistant_prefix]
    messages = [{"role": "system", "content": system}, {"role": "user", "content": instruction + text}]

    def render(messages: list[dict[str, str]], asks: bool) -> str:
        today = chat.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asks)
        return re.sub(r"Today is \d\d \w+ \d{4}", "Today is 01 Jan 2025", today)

    # Words may be cut elsewhere where two of our pieces meet; what is read is the same, special tokens included.
    theirs = chat.tokenizer(render(messages, True), add_special_tokens=False)["input_ids"]
    assert chat.tokenizer.decode(ours) == chat.tokenizer.decode(theirs)
    assert [token for token in ours if chat.is_special(token)] == [t for t in theirs if chat.is_special(t)]
    answered = [*messages, {"role": "assistant", "content": "It is."}]
    theirs = chat.tokenizer(render(answered, False), add_special_tokens=False)["input_ids"]
    whole = [*ours, *chat.encode(["It is."])[0], *chat.assistant_suffix]
    assert chat.tokenizer.decode(theirs).startswith(chat.tokenizer.decode(whole))
    assert chat.is_special(chat.assistant_suffix[-1])


@pytest.mark.parametrize("kind", ["scratch", "qwen"])
def test_ids_are_those_of_the_template(chats: dict[str, ChatTemplate], kind: str):
    """Where text begins at a word, token for token."""
    chat = chats[kind]
    system, instruction = "You are a model.", "Title:"
    ours = [*chat.build_header(system, instruction), *chat.encode([" A red dress"])[0], *chat.assistant_prefix]
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "Title: A red dress"}]
    theirs = chat.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ours == theirs


def test_a_template_without_system_role_gets_it_in_the_users_turn(chats: dict[str, ChatTemplate]):
    chat = chats["old_llama"]
    ids = [
        *chat.build_header("Be brief.", "Title: "),
        *chat.encode(["A dress"])[0],
        *chat.assistant_prefix,
        *chat.assistant_suffix,
    ]
    assert chat.tokenizer.decode(ids) == "<s>[INST] Be brief.\n\nTitle: A dress [/INST]</s>"


def test_a_template_that_tells_the_day_tells_the_same_day_tomorrow(chats: dict[str, ChatTemplate]):
    assert "01 Jan 2025" in chats["llama"].tokenizer.decode(chats["llama"].system_prefix)


def test_a_model_without_template(chats: dict[str, ChatTemplate]):
    tokenizer = KINDS["qwen"]()
    tokenizer.chat_template = None
    add_sid_tokens(tokenizer, ["<a_0>"])
    assert tokenizer.chat_template == PLAIN_TEMPLATE
    chat = ChatTemplate(tokenizer)
    ids = [*chat.build_header("Be brief.", "Title: "), *chat.encode(["A dress"])[0], *chat.assistant_prefix]
    assert tokenizer.decode(ids) == "Be brief.\n\nTitle: A dress\n\nAnswer: "
    assert chat.assistant_suffix == [tokenizer.eos_token_id]


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{{ messages[0]['content'] }}{{ messages[0]['content'] }}", "once each"),
        ("nothing at all", "once each"),
        ("{% for message in messages %}{{ message['content'] }}{% endfor %}", "no assistant header"),
        ("{{ raise_exception('never') }}", "once each"),
    ],
)
def test_templates_that_cannot_be_used(template: str, sentence: str):
    tokenizer = KINDS["qwen"]()
    tokenizer.chat_template = template
    with pytest.raises(RecipeError, match=sentence):
        ChatTemplate(tokenizer)


def test_padding_and_truncation_in_the_file_do_not_touch_texts():
    tokenizer = KINDS["qwen"]()
    tokenizer.backend_tokenizer.enable_padding(length=50, pad_id=tokenizer.pad_token_id)
    tokenizer.backend_tokenizer.enable_truncation(3)
    encoded = ChatTemplate(tokenizer).encode(["A red cotton dress", "A"])
    assert len(encoded[0]) > 3
    assert len(encoded[1]) == 1
