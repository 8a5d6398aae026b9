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
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trialigngr.catalog.histories import Histories, Targets
from trialigngr.evaluate.scorer import FloatArray, Rows, compute_ranks
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.console import log, show_progress
from trialigngr.foundation.device import autocast, pick_device
from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.files import whole_file, write_text_atomically
from trialigngr.foundation.seeds import derive_seed
from trialigngr.metrics.ranks import ndcg
from trialigngr.sequential.full_softmax import full_softmax_loss
from trialigngr.sequential.settings import SasRecSettings
from trialigngr.train.checkpoint import load_best, load_checkpoint, remove_checkpoints, save_best, save_checkpoint

WEIGHTS_FILE, CONFIG_FILE = "sasrec.safetensors", "sasrec.json"


class _SasRecNetwork(nn.Module):
    def __init__(self, settings: SasRecSettings, n_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items, settings.hidden_size)
        self.places = nn.Embedding(settings.max_history, settings.hidden_size)
        if settings.hidden_size % settings.num_heads:
            raise RecipeError(
                f"sasrec.hidden_size = {settings.hidden_size} cannot be shared by {settings.num_heads} heads; take a "
                "multiple of that."
            )
        layer = nn.TransformerEncoderLayer(
            settings.hidden_size, settings.num_heads, 4 * settings.hidden_size, settings.dropout, "gelu",
            batch_first=True, norm_first=True,
        )  # fmt: skip
        self.layers = nn.TransformerEncoder(
            layer, settings.num_layers, nn.LayerNorm(settings.hidden_size), enable_nested_tensor=False
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
    """A trained SASRec, as a `Scorer`."""

    name = "SASRec"

    def __init__(self, settings: SasRecSettings, n_items: int, device: str = "auto") -> None:
        self.settings, self.device = settings, pick_device(device)
        self.network = _SasRecNetwork(settings, n_items).to(self.device)

    @property
    def item_vectors(self) -> FloatArray:
        """The items' vectors float32 [N, width]."""
        vectors_ND: FloatArray = self.network.items.weight.detach().float().cpu().numpy()
        return vectors_ND

    @torch.no_grad()
    def score_items(self, histories: Sequence[Rows]) -> FloatArray:
        """Return the scores [B, N] after each history; its last ``max_history`` items count."""
        self.network.eval()
        shown = [rows[-self.settings.max_history :] for rows in histories]
        rows_BT = torch.from_numpy(_pad_histories(shown)).to(self.device)
        last_B = torch.tensor([len(rows) - 1 for rows in shown], device=self.device)
        states_BD = self.network(rows_BT)[torch.arange(len(shown), device=self.device), last_B]
        scores_BN: FloatArray = (states_BD @ self.network.items.weight.T).float().cpu().numpy()
        return scores_BN

    def save(self, folder: Path) -> None:
        """Write weights and shape."""
        with whole_file(folder / WEIGHTS_FILE) as half:
            save_file(self.network.state_dict(), half)
        shape = {"settings": self.settings.model_dump(mode="json"), "items": self.network.items.num_embeddings}
        write_text_atomically(folder / CONFIG_FILE, json.dumps(shape) + "\n")

    @classmethod
    def load(cls, folder: Path, device: str = "auto") -> SasRec:
        """Read what `save` wrote; raise `ArtifactError` if it is not there."""
        shape = json.loads(check_file(folder / CONFIG_FILE).read_text(encoding="utf-8"))
        found = cls(SasRecSettings(**shape["settings"]), shape["items"], device)
        found.network.load_state_dict(load_file(check_file(folder / WEIGHTS_FILE)))
        return found


@dataclass(frozen=True)
class _PackedHistories:
    """Histories side by side in rows of one length: inputs, targets, place within a history, and whose it is (−1: of
    nobody)."""

    inputs_BT: Tensor
    targets_BT: Tensor
    places_BT: Tensor
    owners_BT: Tensor

    @classmethod
    def from_pieces(cls, pieces: Sequence[Rows], max_history: int, device: torch.device) -> _PackedHistories:
        """Put pieces (inputs and, one on, targets) into rows, each into the last one if it fits there."""
        starts, used = [], [0]
        for own in pieces:
            if used[-1] + len(own) - 1 > max_history:
                used.append(0)
            starts.append((len(used) - 1) * max_history + used[-1])
            used[-1] += len(own) - 1
        flat = np.zeros((4, len(used) * max_history), dtype=np.int64)
        flat[3] = -1
        for owner, (start, own) in enumerate(zip(starts, pieces, strict=True)):
            stop = start + len(own) - 1
            flat[:3, start:stop] = own[:-1], own[1:], np.arange(len(own) - 1)
            flat[3, start:stop] = owner
        return cls(*torch.from_numpy(flat).view(4, -1, max_history).to(device))


def _pad_histories(rows: Sequence[Rows]) -> Rows:
    padded_BT = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for line, own in enumerate(rows):
        padded_BT[line, : len(own)] = own
    return padded_BT


def _cut_histories(histories: Histories, max_history: int) -> list[Rows]:
    """Return the training parts in pieces of ``max_history`` inputs and as many targets, the last piece whole."""
    pieces = []
    for rows in histories.train_sequences():
        for stop in range(len(rows), 1, -max_history):
            pieces.append(rows[max(0, stop - max_history - 1) : stop])
    return pieces


def train_sasrec(
    settings: SasRecSettings,
    histories: Histories,
    n_items: int,
    valid: Targets,
    seed: int,
    folder: Path,
    device: str = "auto",
) -> dict[str, Any]:
    """Train on the training parts, choose the epoch on the ``valid`` targets, write the model to ``folder``; return
    facts.

    Every epoch is a function of seed and number, so that a training that was killed goes on to the same weights.
    """
    torch.manual_seed(derive_seed(seed, "sasrec"))
    model = SasRec(settings, n_items, device)
    optimizer = torch.optim.AdamW(
        model.network.parameters(), settings.learning_rate, (0.9, 0.98), weight_decay=0.0, fused=True
    )
    pieces = _cut_histories(histories, settings.max_history)
    state = load_checkpoint(folder, model.network, optimizer) or {"step": 0, "best": -1.0, "best_step": 0}
    with show_progress("SASRec", settings.epochs, state["step"]) as advance:
        while state["step"] < settings.epochs and state["step"] - state["best_step"] < settings.patience:
            loss = _train_epoch(model, optimizer, pieces, derive_seed(seed, "sasrec", state["step"]))
            state["step"] += 1
            found = float(ndcg(compute_ranks(model, histories, valid, mask_seen=False), 10).mean())
            if found > state["best"]:
                state |= {"best": found, "best_step": state["step"]}
                save_best(folder, model.network)
            save_checkpoint(folder, model.network, optimizer, state)
            advance(1, f"loss {loss:.3f}, validation NDCG@10 {found:.4f}, best {state['best']:.4f}")
    load_best(folder, model.network)
    model.save(folder)
    remove_checkpoints(folder)
    log(f"  SASRec: epoch {state['best_step']} of {state['step']}, validation NDCG@10 {state['best']:.4f}")
    return {"epochs": state["step"], "best_epoch": state["best_step"], "valid_ndcg_10": state["best"]}


def _train_epoch(model: SasRec, optimizer: torch.optim.Optimizer, pieces: list[Rows], seed: int) -> float:
    """Take one pass over the pieces; return the mean loss a target."""
    network, settings = model.network.train(), model.settings
    torch.manual_seed(seed)
    order = np.random.default_rng(seed).permutation(len(pieces))
    total = targets = 0.0
    for start in range(0, len(order), settings.batch_size):
        batch = [pieces[place] for place in order[start : start + settings.batch_size]]
        packed = _PackedHistories.from_pieces(batch, settings.max_history, model.device)
        real_BT = packed.owners_BT >= 0
        with autocast(model.device):
            states_MD = network(packed.inputs_BT, packed.places_BT, packed.owners_BT)[real_BT]
            loss = full_softmax_loss(states_MD, network.items.weight, packed.targets_BT[real_BT])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total, targets = total + loss.item() * len(states_MD), targets + len(states_MD)
    return total / max(targets, 1)
