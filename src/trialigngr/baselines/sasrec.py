"""SASRec (Kang & McAuley, arXiv 1808.09781) with the softmax over all items (Klenitskiy & Vasilev, arXiv 2309.07602).

A causal transformer over item vectors; the score of an item is the product of its vector with the last state. Our own
hundred lines: the kept libraries bring their own data formats, splits and old pins.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trialigngr.baselines.ranker import Floats, Rows, ranks
from trialigngr.catalog.histories import Histories, Targets
from trialigngr.foundation.artifact import write_text_atomically
from trialigngr.foundation.config import Settings
from trialigngr.foundation.console import log, progress
from trialigngr.foundation.device import autocast, pick_device
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.seeds import child
from trialigngr.metrics.ranks import ndcg
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
    dropout: float = Field(0.3, ge=0, lt=1)
    """Dropout on item vectors, attention and feed-forward."""
    batch_size: int = Field(128, ge=1)
    """Users in a batch."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of Adam, constant."""
    epochs: int = Field(200, ge=1)
    """At most so many passes over the users."""
    patience: int = Field(10, ge=1)
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

    def forward(self, rows_BT: Tensor) -> Tensor:
        """Return the states [B, T, D] of histories that are padded at the right."""
        length = rows_BT.shape[1]
        places_T = torch.arange(length, device=rows_BT.device)
        hidden_BTD = self.dropout(self.items(rows_BT) * math.sqrt(self.items.embedding_dim) + self.places(places_T))
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=rows_BT.device)
        states_BTD: Tensor = self.layers(hidden_BTD, mask=mask, is_causal=True)
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
        save_file(self.network.state_dict(), folder / WEIGHTS)
        shape = {"settings": self.settings.model_dump(mode="json"), "items": self.network.items.num_embeddings}
        write_text_atomically(folder / SHAPE, json.dumps(shape) + "\n")

    @classmethod
    def load(cls, folder: Path) -> SasRec:
        """Read what `save` wrote; raise `ArtifactError` if it is not there."""
        if not (folder / SHAPE).is_file():
            raise ArtifactError(f"{folder} holds no SASRec; run the recipe to train it.")
        shape = json.loads((folder / SHAPE).read_text(encoding="utf-8"))
        found = cls(SasRecSettings(**shape["settings"]), shape["items"])
        found.network.load_state_dict(load_file(folder / WEIGHTS))
        return found


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
    optimizer = torch.optim.Adam(model.network.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98))
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
        inputs_BT = torch.from_numpy(_padded([rows[:-1] for rows in batch])).to(model.device)
        wanted_BT = torch.from_numpy(_padded([rows[1:] for rows in batch])).to(model.device)
        lengths_B1 = torch.tensor([[len(rows) - 1] for rows in batch], device=model.device)
        real_BT = torch.arange(inputs_BT.shape[1], device=model.device) < lengths_B1
        with autocast(model.device):
            logits_MN = network(inputs_BT)[real_BT] @ network.items.weight.T
        loss = nn.functional.cross_entropy(logits_MN.float(), wanted_BT[real_BT])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total, targets = total + loss.item() * len(logits_MN), targets + len(logits_MN)
    return total / max(targets, 1)
