"""Sharing is exact: packed sheets give the losses and gradients of plain rows, whatever is shared, cut or packed."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.backbones import tiny_backbone
from tests.support.world import World
from trialigngr.tasks.examples import TaskExamples, unshare_rows
from trialigngr.tasks.packing import Continuation, SharedPrefixRow, pack_micro_batches
from trialigngr.tasks.task import TASKS
from trialigngr.train import attention, loss
from trialigngr.train.attention import ATTENTION_NAME, BlockLayout
from trialigngr.train.loss import DeviceMicroBatch, compute_target_losses, sum_branch_log_probs, weigh_losses

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def models(world: World) -> dict[str, Any]:
    return {kind: tiny_backbone(kind, len(world.chat.tokenizer)) for kind in ("qwen", "llama")}


@pytest.fixture
def model(models: dict[str, Any]) -> Any:
    models["qwen"].set_attn_implementation(ATTENTION_NAME)
    return models["qwen"]


def packed_losses(model: Any, header: list[int], sheets: list[SharedPrefixRow], tokens: int) -> Tensor:
    model.set_attn_implementation(ATTENTION_NAME)
    found = [
        compute_target_losses(model, DeviceMicroBatch.from_micro_batch(part, CPU))
        for part in pack_micro_batches(header, sheets, tokens)
    ]
    return torch.cat(found)


def alone(model: Any, header: list[int], sheet: SharedPrefixRow, branch: Continuation) -> Tensor:
    """Return the losses of one example as the model's own class computes them: one causal row, no mask of ours."""
    prompt = [*header, *sheet.prefix_tokens[: branch.prefix_length], *branch.prompt_suffix]
    model.set_attn_implementation("sdpa")
    logits = model(torch.tensor([[*prompt, *branch.target]])).logits[0, len(prompt) - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(branch.target), reduction="none")


def gradients(model: Any, loss: Tensor) -> Tensor:
    found = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([gradient.flatten() for gradient in found])


def everything(examples: TaskExamples) -> list[SharedPrefixRow]:
    return unshare_rows(
        sorted(examples.draw_batch(0, 0, len(examples)), key=lambda sheet: sheet.continuations[0].example_id)
    )


CONTINUED = "sids_to_sid, continued"
ROOM = {
    **{CONTINUED: 7, "sids_to_sid": 7, "sids_to_title": 7, "titles_to_sid": 24, "titles_to_title": 24},
    **{"title_to_sid": 8, "visual_to_sid": 8, "visual_to_title": 8},
}
"""Tokens for items that are too few for some: histories of SIDs are short, longer are those of titles. T2 is not here:
it shows one SID, which is never cut."""
COMPARED = [
    *[("qwen", "_eager_attention", name, None) for name in (CONTINUED, *TASKS)],
    *[("qwen", "_eager_attention", name, room) for name, room in ROOM.items()],
    *[("qwen", "_fused_attention", name, ROOM[name]) for name in ("title_to_sid", "sids_to_sid", "titles_to_title")],
    *[
        ("llama", "_eager_attention", name, ROOM.get(name))
        for name in ("sid_to_title", "sids_to_title", "titles_to_sid")
    ],
]


@pytest.mark.parametrize(("kind", "way", "name", "room"), COMPARED)
def test_sharing_changes_nothing(
    world: World,
    models: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    way: str,
    name: str,
    room: int | None,
):
    """``room`` None: everything fits; else the maximum length cuts texts and histories, beside the cap."""
    model = models[kind]
    # What a GPU takes is compared here too: a CPU can compute it, only more slowly.
    monkeypatch.setattr(attention, "_eager_attention", getattr(attention, way))
    task, _, continued = name.partition(", ")
    examples = world.examples(task, room, history_in_completion=bool(continued))
    uncut = world.examples(task, history_in_completion=bool(continued))
    assert (everything(examples) != everything(uncut)) == (room is not None)
    sheets = examples.draw_batch(0, 0, min(len(examples), 40))
    # Means in fp64: those of fp32 are multiples of 5e-7 here.
    plain = packed_losses(model, examples.prompt_header, unshare_rows(sheets), 1).double().mean()
    own = torch.cat(
        [alone(model, examples.prompt_header, sheet, branch) for sheet in sheets for branch in sheet.continuations]
    )
    theirs = gradients(model, own.double().mean())
    assert theirs.norm() > 0.01
    for tokens in (150, 5000):  # several passes, and one
        shared = packed_losses(model, examples.prompt_header, sheets, tokens).double().mean()
        assert abs(shared - plain) < 1e-6
        assert abs(shared - own.double().mean()) < 1e-6
        ours = gradients(model, shared)
        assert (ours - theirs).norm() < 1e-5 * theirs.norm()


@pytest.mark.parametrize(
    ("name", "continued"), [("sids_to_sid", False), ("sids_to_sid", True), ("titles_to_sid", False)]
)
def test_what_must_not_be_written_costs_what_it_costs_in_a_row_of_its_own(
    world: World, model: Any, name: str, continued: bool
):
    examples = world.examples(name, history_in_completion=continued)
    sheets = examples.draw_batch(0, 0, 40, with_negatives=True)
    every = [(sheet, branch) for sheet in sheets for branch in sheet.continuations]
    pairs = [(sheet, branch) for sheet, branch in every if branch.num_targets]
    refused = [(sheet, branch) for sheet, branch in every if not branch.num_targets]
    assert sum(sheet.num_targets for sheet in sheets) == sum(len(branch.target) for _, branch in pairs)
    assert len(refused) > 20
    own = sum(alone(model, examples.prompt_header, *pair).sum() for pair in pairs)
    likely = [torch.exp(-alone(model, examples.prompt_header, *pair)[-1]) for pair in refused]
    theirs = own - 0.3 * sum(torch.log(1 - p) for p in likely)
    assert theirs - own > 0.01
    wanted = gradients(model, theirs)
    for given, tokens in ((sheets, 150), (sheets, 5000), (unshare_rows(sheets), 1)):
        model.set_attn_implementation(ATTENTION_NAME)
        parts = [
            DeviceMicroBatch.from_micro_batch(part, CPU)
            for part in pack_micro_batches(examples.prompt_header, given, tokens)
        ]
        ours = sum(weigh_losses(compute_target_losses(model, part), part, 0.3).sum() for part in parts)
        assert abs(ours - theirs) < 1e-6 * abs(theirs)
        assert (gradients(model, ours) - wanted).norm() < 1e-5 * wanted.norm()


def weighted_prompts() -> list[SharedPrefixRow]:
    """Return three prompts, each read once, with 8, 2 and 3 answers of other lengths and weights, all numbered."""
    random, rows, branches = np.random.default_rng(5), [], 0
    for size in (8, 2, 3):
        prefix, answers = random.integers(0, 300, 30).tolist(), []
        for _ in range(size):
            target = random.integers(0, 300, random.integers(1, 9)).tolist()
            weights = tuple(random.choice([0.0, 0.5, 1.0, 2.25], len(target)).tolist())
            answers.append(Continuation(len(prefix), [9, 11], target, weights=weights, branch=branches))
            branches += 1
        # One answer says what the prompt says there, so it takes no tokens; its weights are its own all the same.
        answers.append(Continuation(4, [], prefix[4:9], weights=(0.0, 1.5, 0.0, 0.0, 3.0), branch=branches))
        rows.append(SharedPrefixRow(prefix, answers))
        branches += 1
    return rows


@pytest.mark.parametrize("tokens", [1, 120, 5000])
def test_weights_are_those_of_plain_rows(model: Any, tokens: int):
    header, rows = [7, 8], weighted_prompts()
    pairs = [(row, branch) for row in rows for branch in row.continuations]
    parts = list(pack_micro_batches(header, rows, tokens))
    given = [DeviceMicroBatch.from_micro_batch(part, CPU) for part in parts]
    assert sum(len(part.weight_M) for part in parts) == sum(np.count_nonzero(branch.weights) for _, branch in pairs)
    assert sum(row.num_targets for row in rows) == sum(len(part.weight_M) for part in parts)
    ours = sum(weigh_losses(compute_target_losses(model, part), part, 0.3).sum() for part in given)
    ours_gradients = gradients(model, ours)
    theirs = sum((alone(model, header, *pair) * torch.tensor(pair[1].weights)).sum() for pair in pairs)
    assert theirs > 10
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    wanted = gradients(model, theirs)
    assert (ours_gradients - wanted).norm() < 1e-5 * wanted.norm()


@pytest.mark.parametrize("tokens", [1, 120, 5000])
def test_sums_of_branches_are_those_of_plain_rows(model: Any, tokens: int):
    """What preference losses are made of: here each answer against the next, through a sigmoid."""
    header, rows = [7, 8], weighted_prompts()
    pairs = [(row, branch) for row in rows for branch in row.continuations]

    def prefer(sums_G: Tensor) -> Tensor:
        return -torch.nn.functional.logsigmoid(0.1 * (sums_G[:-1] - sums_G[1:])).sum()

    parts = [DeviceMicroBatch.from_micro_batch(part, CPU) for part in pack_micro_batches(header, rows, tokens)]
    ours_G = torch.stack(
        [sum_branch_log_probs(compute_target_losses(model, part), part, len(pairs)) for part in parts]
    ).sum(0)
    ours = gradients(model, prefer(ours_G))
    theirs_G = torch.stack([-(alone(model, header, *pair) * torch.tensor(pair[1].weights)).sum() for pair in pairs])
    torch.testing.assert_close(ours_G, theirs_G, rtol=1e-5, atol=1e-5)
    wanted = gradients(model, prefer(theirs_G))
    assert wanted.norm() > 0.01
    assert (ours - wanted).norm() < 1e-5 * wanted.norm()


def test_eight_answers_read_their_prompt_once():
    (row, *_) = weighted_prompts()
    (part,) = pack_micro_batches([7, 8], [row], 5000)
    answers = sum(len(branch.input_tokens) for branch in row.continuations[:8])
    assert len(part.tokens_T) == len(row) + 2 == 2 + 30 + answers
    assert set(part.branch_M.tolist()) <= set(range(9))
    # A token of weight 0 is read, and nothing is predicted from where it stands.
    for branch, continuation in enumerate(row.continuations):
        kept = [token for token, weight in zip(continuation.target, continuation.weights, strict=True) if weight]
        assert part.target_token_M[part.branch_M == branch].tolist() == kept


def test_weights_of_one_change_no_bit(world: World, model: Any):
    """A supervised loss is as it was before there were weights, down to the last bit."""
    examples = world.examples("sids_to_sid")
    batch = examples.draw_batch(0, 0, 40, with_negatives=True)
    (part,) = pack_micro_batches(examples.prompt_header, batch, 5000)
    passed = DeviceMicroBatch.from_micro_batch(part, CPU)
    losses_M = compute_target_losses(model, passed)
    unlikely_M = 0.3 * -torch.log(-torch.expm1(-losses_M.clamp(min=1e-6)))
    before = torch.where(passed.weight_M < 0, unlikely_M, losses_M)
    assert set(part.weight_M.tolist()) == {1.0, -1.0}
    assert torch.equal(weigh_losses(losses_M, passed, 0.3), before)
    old = gradients(model, before.sum())
    assert torch.equal(gradients(model, weigh_losses(compute_target_losses(model, passed), passed, 0.3).sum()), old)


def test_a_certain_repeat_costs_much_and_breaks_nothing():
    losses = torch.tensor([2.0, 0.0, 1e-3], requires_grad=True)
    passed = SimpleNamespace(weight_M=torch.tensor([1.0, -1.0, -1.0]))
    found = weigh_losses(losses, passed, 2.0)  # type: ignore[arg-type]
    assert found[0] == 2
    assert 20 < found[1] < 40
    assert float(found[2].detach()) == pytest.approx(-2 * math.log(-math.expm1(-1e-3)), rel=1e-4)
    (gradient,) = torch.autograd.grad(found.sum(), losses)
    assert gradient[0] == 1
    assert torch.isfinite(gradient).all()
    assert gradient[2] < -1000


@pytest.mark.parametrize("continued", [False, True])
def test_every_single_target_has_the_loss_of_its_own_row(world: World, model: Any, continued: bool):
    examples = world.examples("sids_to_sid", history_in_completion=continued)
    sheets = examples.draw_batch(0, 0, len(examples))
    assert max(len(sheet.continuations) for sheet in sheets) > 4
    for sheet in sheets:
        ours = packed_losses(model, examples.prompt_header, [sheet], 512)
        theirs = torch.cat([alone(model, examples.prompt_header, sheet, branch) for branch in sheet.continuations])
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_branch_that_repeats_the_trunk_takes_no_tokens():
    """Trunk 1 2 3 4: 3 4 is written after 1 2 (it stands there), 3 5 is not; and 6 7 after all, beyond its end."""
    sheet = SharedPrefixRow(
        [1, 2, 3, 4], [Continuation(2, [], [3, 4]), Continuation(2, [], [5, 4]), Continuation(4, [], [6, 7])]
    )
    (part,) = pack_micro_batches([9], [sheet], 99)
    assert part.tokens_T.tolist() == [9, 1, 2, 3, 4, 5, 6]
    assert part.positions_T.tolist() == [0, 1, 2, 3, 4, 3, 5]
    assert part.source_place_M.tolist() == [2, 3, 2, 5, 4, 6]
    assert part.target_token_M.tolist() == [3, 4, 5, 4, 6, 7]
    assert (part.row_lengths_S.tolist(), len(sheet)) == ([6], 6)


def test_a_leak_would_be_seen(world: World, model: Any):
    # The comparison above can fail: let one branch see its neighbour and the loss is another.
    examples = world.examples("sids_to_sid")
    (part,) = pack_micro_batches(examples.prompt_header, examples.draw_batch(0, 0, 40), 5000)
    part.own_start_T[:] = np.maximum(part.own_start_T - 3, 0)
    leaked = compute_target_losses(model, DeviceMicroBatch.from_micro_batch(part, CPU)).mean()
    right = packed_losses(model, examples.prompt_header, examples.draw_batch(0, 0, 40), 5000).mean()
    assert abs(leaked - right) > 1e-3


def test_a_pass_by_hand():
    """Header 7 7, trunk 1 2 3; one branch leaves after 1, one after 3; each reads 9 and writes two tokens."""
    sheet = SharedPrefixRow([1, 2, 3], [Continuation(1, [9], [5, 8]), Continuation(3, [9], [6, 8])])
    (part,) = pack_micro_batches([7, 7], [sheet, SharedPrefixRow([], [Continuation(0, [4], [6])])], 99)
    assert part.tokens_T.tolist() == [7, 7, 1, 2, 3, 9, 5, 9, 6, 4]
    assert part.positions_T.tolist() == [0, 1, 2, 3, 4, 3, 4, 5, 6, 2]
    assert part.source_place_M.tolist() == [5, 6, 7, 8, 9]
    assert part.target_token_M.tolist() == [5, 8, 6, 8, 6]
    assert (part.header_length, part.row_lengths_S.tolist(), len(sheet)) == (2, [7, 1], 7)
    layout = BlockLayout.from_micro_batch(part, CPU)
    header, long, short = ((block.mask == 0)[0, 0].int().tolist() for block in layout.blocks)
    assert header == [[1, 0], [1, 1]]
    assert long == [
        [1, 1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 1, 0],
        [1, 1, 1, 1, 1, 0, 0, 1, 1],
    ]
    assert short == [[1, 1, 1]]


def test_sheets_of_like_length_share_a_block():
    sheets = [SharedPrefixRow([3] * n, [Continuation(n, [9], [5])]) for n in (7, 19, 18, 15, 3)]
    (part,) = pack_micro_batches([7], sheets, 99)
    layout = BlockLayout.from_micro_batch(part, CPU)
    # 20 tokens and what is at least three quarters of that; 8; 4. The header is a block of its own.
    assert [(block.num_rows, block.length) for block in layout.blocks] == [(1, 1), (3, 20), (1, 8), (1, 4)]
    places = layout.places_P.tolist()
    assert places[:21] == list(range(21))
    assert places[41:61] == [*range(40, 56), 0, 0, 0, 0]
    assert [places[place] for place in layout.inverse_T.tolist()] == list(range(68))
    assert layout.blocks[1].mask[2, 0, 16].tolist()[:2] == [0, float(torch.finfo(torch.bfloat16).min)]


def test_passes_keep_every_sheet_and_pad_nothing():
    random = np.random.default_rng(0)
    sheets = [SharedPrefixRow([3] * int(n), [Continuation(int(n), [9], [5, 6])]) for n in random.integers(1, 40, 60)]
    parts = list(pack_micro_batches([7, 7], sheets, 200))
    assert sum(int((part.target_token_M == 5).sum()) for part in parts) == 60
    assert sum(len(part.tokens_T) - 2 for part in parts) == sum(map(len, sheets))
    assert all(len(part.tokens_T) <= 200 for part in parts)
    assert min(len(part.tokens_T) for part in parts[:-1]) > 160


def test_a_sheet_longer_than_a_pass_gets_one_of_its_own():
    sheets = [
        SharedPrefixRow([1] * 50, [Continuation(50, [9], [5])]),
        SharedPrefixRow([1] * 4, [Continuation(4, [9], [5])]),
    ]
    assert [len(part.tokens_T) for part in pack_micro_batches([7], sheets, 10)] == [52, 6]


def test_attention_that_is_not_plain_is_refused():
    (part,) = pack_micro_batches([7], [SharedPrefixRow([1] * 9, [Continuation(9, [9], [5])])], 99)
    heads = torch.zeros(1, 2, len(part.tokens_T), 4)
    with pytest.raises(ValueError, match="its attention has sinks"):
        attention.shared_prefix_attention(
            None,
            heads,
            heads,
            heads,
            None,
            layout=BlockLayout.from_micro_batch(part, CPU),
            scaling=0.5,
            s_aux=torch.zeros(2),
        )


def test_logits_in_pieces_are_the_same(world: World, model: Any, monkeypatch: pytest.MonkeyPatch):
    examples = world.examples("sids_to_title")
    sheets = examples.draw_batch(0, 0, 20)
    whole = packed_losses(model, examples.prompt_header, sheets, 999)
    before = gradients(model, whole.mean())
    monkeypatch.setattr(loss, "MAX_CPU_LOGITS", 7 * model.config.vocab_size)
    pieces = packed_losses(model, examples.prompt_header, sheets, 999)
    torch.testing.assert_close(pieces, whole)
    torch.testing.assert_close(gradients(model, pieces.mean()), before)
