"""Large catalogues: what the trie adds to a step, what filters and priors add, what ten million items take."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.decoding.data import CATALOGUES, FILTERED, PRIOR_ROWS, VOCABULARY, codes, model, prompts, search
from benchmarks.harness import Check, below, peak_memory, seconds_of, side_by_side
from trialigngr.decode.causal_model import CausalModel
from trialigngr.decode.filters import Filter
from trialigngr.decode.prior import Prior
from trialigngr.sids.trie import Trie

BEAMS, ROUNDS = 20, 5


def main() -> None:
    """Make the codes of N items and, with ``trie``, their trie too; print the trie's seconds."""
    codes_NL = codes(int(sys.argv[2]))
    if sys.argv[1] == "trie":
        print(f"{seconds_of(lambda: Trie.from_codes(codes_NL)):.1f} s to build", file=sys.stderr)


class Hidden(nn.Module):
    """Random hidden states at no cost."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden_XD = torch.randn(2**14, 8)

    def forward(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        """Return as many as there are tokens."""
        return SimpleNamespace(last_hidden_state=self.hidden_XD[: input_ids.numel()].view(*input_ids.shape, 8))


class Free:
    """A model that costs nothing: what is left of a decode is the trie's own part."""

    def __init__(self) -> None:
        self.device, self.config = torch.device("cpu"), SimpleNamespace(vocab_size=VOCABULARY, _attn_implementation="x")
        self.base_model, self.head = Hidden(), nn.Linear(8, VOCABULARY, bias=False)

    def get_output_embeddings(self) -> nn.Linear:
        """Return a narrow output layer."""
        return self.head


def growth(backbone: Any) -> list[Check]:
    """Return how the trie's part of a decode grows with the catalogue, and its share of the whole."""
    asked, part, whole = prompts(), {}, {}
    free = CausalModel(Free())
    free._is_checked = True  # what gives random states is not tried
    for n in CATALOGUES:
        searches = {"trie": search(Free(), n, "constrained"), "whole": search(backbone, n, "constrained")}
        searches["trie"].model = free
        taken = side_by_side({name: _call(own, asked) for name, own in searches.items()}, ROUNDS)
        part[n], whole[n] = taken["trie"], taken["whole"]
        print(f"{n:>10,} items: the trie's part {1e3 * part[n]:.2f} ms of {1e3 * whole[n]:.1f} ms")
    least, most = CATALOGUES[0], CATALOGUES[-1]
    return [
        below(
            f"over the catalogue, {least:,} → {most:,} items: growth of the trie's part", part[most] / part[least], 2
        ),
        below(
            "over the catalogue: the trie's share of the decode, at most",
            max(part[n] / whole[n] for n in CATALOGUES),
            0.15,
        ),
    ]


def _call(own: Any, asked: list[list[int]], *filters: Any) -> Callable[[], object]:
    return lambda: own(asked, BEAMS, *filters)


def filters(backbone: Any) -> list[Check]:
    """Return what filters cost that leave one in a hundred items, another hundredth for each user."""
    own, asked = search(backbone, FILTERED, "constrained"), prompts()
    random = np.random.default_rng(2)
    allowed = [np.sort(random.choice(FILTERED, FILTERED // 100, replace=False)) for _ in asked]
    allow = [Filter(only_rows=rows) for rows in allowed]
    deny = [np.setdiff1d(np.arange(FILTERED), rows) for rows in allowed]
    taken = side_by_side(
        {"none": _call(own, asked), "allow": _call(own, asked, allow), "deny": _call(own, asked, deny)}, ROUNDS
    )
    print({name: f"{1e3 * seconds:.1f} ms" for name, seconds in taken.items()})
    return [
        below(
            f"over the catalogue, 1 % of {FILTERED:,} items allowed, by {how} list, of unfiltered",
            taken[name] / taken["none"],
            1.2,
        )
        for name, how in (("allow", "an allow"), ("deny", "a deny"))
    ]


def priors() -> list[Check]:
    """Return what priors cost a model of `trialigngr-small`'s shape: of some items and of all, each user's own."""
    small, asked, random = model(4, 256), prompts(), np.random.default_rng(3)
    over: dict[str, list[float]] = {"a thousand": [], "all": []}
    for n in (CATALOGUES[0], FILTERED):
        own = search(small, n, "constrained")
        given = {
            "a thousand": [
                Prior(random.random(PRIOR_ROWS), 0.3, random.choice(n, PRIOR_ROWS, replace=False)) for _ in asked
            ],
            "all": [Prior(random.random(n, dtype=np.float32), 0.3) for _ in asked],
        }
        calls = {name: _call(own, asked, None, priors) for name, priors in given.items()}
        taken = side_by_side({"none": _call(own, asked)} | calls, ROUNDS)
        print(f"{n:>10,} items, priors of:", {name: f"{1e3 * seconds:.1f} ms" for name, seconds in taken.items()})
        for name, ratios in over.items():
            ratios.append(taken[name] / taken["none"])
    return [
        below(
            f"over the catalogue, a prior of {name} items for each user, of the decode without, at most", max(of), 1.1
        )
        for name, of in over.items()
    ]


def trie() -> list[Check]:
    """Return the seconds and the memory of a large trie, in a process of its own."""
    n = CATALOGUES[-1]
    codes_NL = codes(n)
    seconds = seconds_of(lambda: Trie.from_codes(codes_NL))
    words = [sys.executable, "-m", "benchmarks.decoding.large"]
    peaks = {what: peak_memory([*words, what, str(n)]) for what in ("codes", "trie")}
    print(f"{n:,} items: the codes alone {peaks['codes'] / 1e9:.2f} GB, with their trie {peaks['trie'] / 1e9:.2f} GB")
    return [
        below(f"a trie of {n:,} items: seconds to build", seconds, 20),
        below(f"a trie of {n:,} items: peak memory (GB), codes and torch included", peaks["trie"] / 1e9, 2),
    ]


if __name__ == "__main__":
    main()
