"""What the loss of a SID's token is over, and how much it weighs."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from tests.support.backbones import tiny_backbone
from tests.support.world import SIZES, World
from trialigngr.foundation.errors import RecipeError
from trialigngr.pipeline.execute import run
from trialigngr.sids.trie import Trie
from trialigngr.systems.item_to_item import count_pairs
from trialigngr.tasks.packing import pack_micro_batches
from trialigngr.tasks.soft_targets import SoftTargets
from trialigngr.train.attention import ATTENTION_NAME
from trialigngr.train.loss import DeviceMicroBatch, TargetLosses
from trialigngr.train.trie_softmax import TrieSoftmax

CPU = torch.device("cpu")


class Setting:
    """A small model and a pass of answers that are SIDs."""

    def __init__(self, task: str) -> None:
        self.world = World()
        self.model = tiny_backbone("qwen", len(self.world.chat.tokenizer))
        self.model.set_attn_implementation(ATTENTION_NAME)
        vocab = self.world.chat.tokenizer.get_vocab()
        self.tokens = [
            [vocab[f"<{letter}_{code}>"] for code in range(size)] for letter, size in zip("abc", SIZES, strict=True)
        ]
        self.level_V = torch.zeros(self.model.config.vocab_size, dtype=torch.long)
        for level, tokens in enumerate(self.tokens, 1):
            self.level_V[tokens] = level
        self.examples = self.world.examples(task)
        self.rows = self.examples.draw_batch(0, 0, 12)
        (part,) = pack_micro_batches(self.examples.prompt_header, self.rows, 9999)
        self.part = DeviceMicroBatch.from_micro_batch(part, CPU)


@pytest.mark.parametrize("task", ["title_to_sid", "sids_to_sid"])
def test_the_softmax_over_what_follows_in_the_trie(task: str) -> None:
    own = Setting(task)
    codes_NL = own.world.sids.codes_NL
    trie = TrieSoftmax.from_trie(Trie.from_codes(codes_NL), own.tokens, CPU)
    found = TargetLosses(own.model, trie_softmax=trie)(own.part, own.level_V)
    part = own.part
    hidden = own.model.model(part.tokens_1T, position_ids=part.positions_1T, layout=part.layout).last_hidden_state[0]
    level_M = own.level_V[part.target_token_M]
    prefix: list[int] = []
    narrowed = 0
    for row, (place, token) in enumerate(zip(part.source_place_M, part.target_token_M.tolist(), strict=True)):
        logits, level = own.model.lm_head(hidden[place]), int(level_M[row])
        if level:
            prefix = prefix[: level - 1]
            below = codes_NL[(codes_NL[:, : level - 1] == prefix).all(1)] if prefix else codes_NL
            rivals = logits[[own.tokens[level - 1][code] for code in np.unique(below[:, level - 1])]]
            narrowed += len(rivals) < SIZES[level - 1]
            prefix.append(own.tokens[level - 1].index(token))
        else:
            rivals = logits[own.level_V == 0]
        torch.testing.assert_close(found[row], rivals.logsumexp(0) - logits[token])
    assert narrowed


def test_the_losses_of_levels_by_their_weights() -> None:
    own = Setting("title_to_sid")
    weights_V = torch.tensor([1.0, 1.5, 1.0, 0.5])[own.level_V]
    plain = TargetLosses(own.model)(own.part)
    weighed = TargetLosses(own.model, token_weights_V=weights_V)(own.part)
    assert torch.equal(weighed, plain * torch.tensor([1.0, 1.5, 1.0, 0.5])[own.level_V[own.part.target_token_M]])
    # A token that must not be written counts by the weight of unlikelihood alone: its loss is a probability.
    own.part.weight_M[1] = -1
    assert TargetLosses(own.model, token_weights_V=weights_V)(own.part)[1] == plain[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["train.level_weights=[1.5, 1.0]"], "has 2 weights, and SIDs have 3 tokens"),
        (['train.loss_softmax="trie"', "train.unlikelihood_weight=1"], "do not go together"),
        (['train.loss_softmax="trie"', 'phases=["sft", "dpo"]'], "trie and phase dpo do not go together"),
        (['train.loss_softmax="trie"', 'decode.score_softmax="full"'], "train.loss_softmax = trie trains"),
    ],
)
def test_settings_that_cannot_be_meant(changes: list[str], said: str, tmp_path) -> None:
    with pytest.raises(RecipeError, match=said):
        run("trialigngr-demo", None, tmp_path / "run", changes=["shop.num_items=60", "shop.num_shoppers=60", *changes])


def test_shown_items_are_left_out_and_asked_for_all_the_same() -> None:
    examples = World().examples("sids_to_sid")
    plain, fewer = (examples.draw_batch(0, 3, 40, deletion=share) for share in (0.0, 0.4))
    assert fewer == examples.draw_batch(0, 3, 40, deletion=0.4)
    assert plain == examples.draw_batch(0, 3, 40)
    assert sum(len(row.prefix_tokens) for row in fewer) < 0.8 * sum(len(row.prefix_tokens) for row in plain)
    for full, some in zip(plain, fewer, strict=True):
        left = iter(full.prefix_tokens)
        assert all(token in left for token in some.prefix_tokens)  # in their order
        for one, other in zip(full.continuations, some.continuations, strict=True):
            assert (one.target, one.example_id) == (other.target, other.example_id)
            assert other.prefix_length <= one.prefix_length


def test_soft_targets_by_hand() -> None:
    """Behind item 0 stood 1 (twice), 2 and 3; of the pair (0, 1) one is the example's own."""
    counts = csr_array(([2.0, 1.0, 0.5, 1.0], ([0, 0, 0, 1], [1, 2, 3, 2])), shape=(4, 4))
    before, taken, random = np.zeros(40_000, int), np.ones(40_000, int), np.random.default_rng(0)
    drawn = np.bincount(SoftTargets(counts, 0.5).draw_targets(before, taken, random), minlength=4) / len(taken)
    np.testing.assert_allclose(drawn, [0, 0.5 + 0.5 * 1 / 2.5, 0.5 * 1 / 2.5, 0.5 * 0.5 / 2.5], atol=0.01)
    always = SoftTargets(counts, 0.999)
    assert always.draw_targets(np.full(50, 1), np.full(50, 2), random).tolist() == [2] * 50, "its own pair alone"
    assert always.draw_targets(np.full(50, 3), np.full(50, 0), random).tolist() == [0] * 50, "nothing is counted"


def test_soft_targets_stand_behind_the_histories_that_were() -> None:
    world = World()
    counts = count_pairs(world.histories, len(world.catalog), 3)
    for name in ("sids_to_sid", "title_to_sid", "sids_to_title"):
        examples = world.examples(name)
        plain, soft = (examples.draw_batch(0, 3, 40, soft_targets=own) for own in (None, SoftTargets(counts, 0.6)))
        assert soft == examples.draw_batch(0, 3, 40, soft_targets=SoftTargets(counts, 0.6))
        pairs = [
            (one, other)
            for row, again in zip(plain, soft, strict=True)
            for one, other in zip(row.continuations, again.continuations, strict=True)
        ]
        assert [row.prefix_tokens for row in plain] == [row.prefix_tokens for row in soft]
        assert all((a.example_id, a.prefix_length) == (b.example_id, b.prefix_length) for a, b in pairs)
        changed = [other for one, other in pairs if one != other]
        assert bool(changed) == (name == "sids_to_sid")
        for other in changed:
            user, position = other.example_id
            before = world.histories.items[world.histories.offsets[user] + position - 1]
            assert counts[int(before), other.item] > 0
            assert other.target == examples.build_targets(np.array([other.item]))[0]
