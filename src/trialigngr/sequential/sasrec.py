"""SASRec (Kang & McAuley, arXiv 1808.09781) with the softmax over all items (Klenitskiy & Vasilev, arXiv 2309.07602).

A causal transformer over item vectors; the score of an item is the product of its vector with the last state. Our own
hundred lines: the kept libraries bring their own data formats, splits and old pins.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trialigngr.catalog.histories import Histories, Targets
from trialigngr.evaluate.ranker import Floats, Rows, ranks
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.config import Settings
from trialigngr.foundation.console import log, progress
from trialigngr.foundation.device import autocast, pick_device
from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.files import whole_file, write_text_atomically
from trialigngr.foundation.seeds import child
from trialigngr.metrics.ranks import ndcg
from trialigngr.sequential.softmax import softmax_loss
from trialigngr.train.checkpoint import clear, load_best, load_checkpoint, save_best, save_checkpoint

WEIGHTS, SHAPE = "sasrec.safetensors", "sasrec.json"


class SasRecSettings(Settings):
    """Size and training of SASRec."""

    width: int = Field(64, ge=2)
    """Dimensions of an item's vector."""
    layers: int = Field(2, ge=1)
    """Transformer layers."""
    heads: int = Field(2, ge=1)
    """Attention heads."""
    length: int = Field(50, ge=1)
    """Items of history seen at most."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout on item vectors, attention and feed-forward."""
    batch_size: int = Field(256, ge=1)
    """Users in a batch."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of AdamW, constant."""
    weight_decay: float = Field(0.0, ge=0)
    """Of AdamW, on all weights."""
    epochs: int = Field(200, ge=1)
    """At most so many passes over the users."""
    patience: int = Field(20, ge=1)
    """Stop after this many epochs without a better validation NDCG@10; the best weights are kept."""
    validate_users: int = Field(2000, ge=1)
    """Users whose validation targets choose the epoch."""
    device: str = "auto"
    """``cpu``, ``cuda``, ``mps`` or ``auto``."""


class _Network(nn.Module):
    def __init__(self, settings: SasRecSettings, n_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items, settings.width)
        self.places = nn.Embedding(settings.length, settings.width)
        if settings.width % settings.heads:
            raise RecipeError(
                f"sasrec.width = {settings.width} cannot be shared by {settings.heads} heads; take a multiple of that."
            )
        layer = nn.TransformerEncoderLayer(
            settings.width, settings.heads, 4 * settings.width, settings.dropout, "gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.layers = nn.TransformerEncoder(
            layer, settings.layers, nn.LayerNorm(settings.width), enable_nested_tensor=False
        )
        self.dropout = nn.Dropout(settings.dropout)
        for table in (self.items, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, rows_BT: Tensor, places_BT: Tensor | None = None, owners_BT: Tensor | None = None) -> Tensor:
        """Return the states [B, T, D] of histories: one a row, padded at the right, or several, packed.

        Packed, ``places_BT`` counts within each history, and an item sees only those of its owner before it.
        """
        length = rows_BT.shape[1]
        places = torch.arange(length, device=rows_BT.device) if places_BT is None else places_BT
        hidden_BTD = self.dropout(self.items(rows_BT) * math.sqrt(self.items.embedding_dim) + self.places(places))
        hidden = torch.ones(length, length, dtype=torch.bool, device=rows_BT.device).triu(1)
        if owners_BT is not None:
            others_BTT = hidden | (owners_BT[:, :, None] != owners_BT[:, None, :])
            hidden = others_BTT.repeat_interleave(self.layers.layers[0].self_attn.num_heads, 0)
        states_BTD: Tensor = self.layers(hidden_BTD, mask=hidden)
        return states_BTD


class SasRec:
    """A trained SASRec, as a `Ranker`."""

    name = "SASRec"

    def __init__(self, settings: SasRecSettings, n_items: int) -> None:
        self.settings, self.device = settings, pick_device(settings.device)
        self.network = _Network(settings, n_items).to(self.device)

    @property
    def item_vectors(self) -> Floats:
        """The items' vectors float32 [N, width]."""
        vectors_ND: Floats = self.network.items.weight.detach().float().cpu().numpy()
        return vectors_ND

    @torch.no_grad()
    def scores(self, histories: Sequence[Rows]) -> Floats:
        """Return the scores [B, N] after each history; its last ``length`` items count."""
        self.network.eval()
        shown = [rows[-self.settings.length :] for rows in histories]
        rows_BT = torch.from_numpy(_padded(shown)).to(self.device)
        last_B = torch.tensor([len(rows) - 1 for rows in shown], device=self.device)
        states_BD = self.network(rows_BT)[torch.arange(len(shown), device=self.device), last_B]
        scores_BN: Floats = (states_BD @ self.network.items.weight.T).float().cpu().numpy()
        return scores_BN

    def save(self, folder: Path) -> None:
        """Write weights and shape."""
        with whole_file(folder / WEIGHTS) as half:
            save_file(self.network.state_dict(), half)
        shape = {"settings": self.settings.model_dump(mode="json"), "items": self.network.items.num_embeddings}
        write_text_atomically(folder / SHAPE, json.dumps(shape) + "\n")

    @classmethod
    def load(cls, folder: Path) -> SasRec:
        """Read what `save` wrote; raise `ArtifactError` if it is not there."""
        shape = json.loads(check_file(folder / SHAPE).read_text(encoding="utf-8"))
        found = cls(SasRecSettings(**shape["settings"]), shape["items"])
        found.network.load_state_dict(load_file(check_file(folder / WEIGHTS)))
        return found


@dataclass(frozen=True)
class _Packed:
    """Histories side by side in rows of one length: inputs, targets, place within a history, and whose it is (−1: of
    nobody)."""

    inputs_BT: Tensor
    wanted_BT: Tensor
    places_BT: Tensor
    owners_BT: Tensor

    @classmethod
    def of(cls, pieces: Sequence[Rows], length: int, device: torch.device) -> _Packed:
        """Put pieces (inputs and, one on, targets) into rows, each into the last one if it fits there."""
        starts, used = [], [0]
        for own in pieces:
            if used[-1] + len(own) - 1 > length:
                used.append(0)
            starts.append((len(used) - 1) * length + used[-1])
            used[-1] += len(own) - 1
        flat = np.zeros((4, len(used) * length), dtype=np.int64)
        flat[3] = -1
        for owner, (start, own) in enumerate(zip(starts, pieces, strict=True)):
            stop = start + len(own) - 1
            flat[:3, start:stop] = own[:-1], own[1:], np.arange(len(own) - 1)
            flat[3, start:stop] = owner
        return cls(*torch.from_numpy(flat).view(4, -1, length).to(device))


def _padded(rows: Sequence[Rows]) -> Rows:
    padded_BT = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for line, own in enumerate(rows):
        padded_BT[line, : len(own)] = own
    return padded_BT


def _windows(histories: Histories, length: int) -> list[Rows]:
    """Return the training parts in pieces of ``length`` inputs and as many targets, the last piece whole."""
    pieces = []
    for rows in histories.train_sequences():
        for stop in range(len(rows), 1, -length):
            pieces.append(rows[max(0, stop - length - 1) : stop])
    return pieces


def train_sasrec(
    settings: SasRecSettings, histories: Histories, n_items: int, valid: Targets, seed: int, out: Path
) -> dict[str, Any]:
    """Train on the training parts, choose the epoch on the ``valid`` targets, write the model to ``out``; return facts.

    Every epoch is a function of seed and number, so that a training that was killed goes on to the same weights.
    """
    torch.manual_seed(child(seed, "sasrec"))
    model = SasRec(settings, n_items)
    optimizer = torch.optim.AdamW(
        model.network.parameters(), settings.learning_rate, (0.9, 0.98), weight_decay=settings.weight_decay, fused=True
    )
    pieces = _windows(histories, settings.length)
    state = load_checkpoint(out, model.network, optimizer) or {"step": 0, "best": -1.0, "best_step": 0}
    with progress("SASRec", settings.epochs, state["step"]) as advance:
        while state["step"] < settings.epochs and state["step"] - state["best_step"] < settings.patience:
            loss = _epoch(model, optimizer, pieces, child(seed, "sasrec", state["step"]))
            state["step"] += 1
            found = float(ndcg(ranks(model, histories, valid, unseen=False), 10).mean())
            if found > state["best"]:
                state |= {"best": found, "best_step": state["step"]}
                save_best(out, model.network)
            save_checkpoint(out, model.network, optimizer, state)
            advance(1, f"loss {loss:.3f}, validation NDCG@10 {found:.4f}, best {state['best']:.4f}")
    load_best(out, model.network)
    model.save(out)
    clear(out)
    log(f"  SASRec: epoch {state['best_step']} of {state['step']}, validation NDCG@10 {state['best']:.4f}")
    return {"epochs": state["step"], "best_epoch": state["best_step"], "valid_ndcg_10": state["best"]}


def _epoch(model: SasRec, optimizer: torch.optim.Optimizer, pieces: list[Rows], seed: int) -> float:
    """Take one pass over the pieces; return the mean loss a target."""
    network, settings = model.network.train(), model.settings
    torch.manual_seed(seed)
    order = np.random.default_rng(seed).permutation(len(pieces))
    total = targets = 0.0
    for start in range(0, len(order), settings.batch_size):
        batch = [pieces[place] for place in order[start : start + settings.batch_size]]
        packed = _Packed.of(batch, settings.length, model.device)
        real_BT = packed.owners_BT >= 0
        with autocast(model.device):
            states_MD = network(packed.inputs_BT, packed.places_BT, packed.owners_BT)[real_BT]
            loss = softmax_loss(states_MD, network.items.weight, packed.wanted_BT[real_BT])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total, targets = total + loss.item() * len(states_MD), targets + len(states_MD)
    return total / max(targets, 1)
