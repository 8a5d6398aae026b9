"""`NextItemNetwork`: what a conventional sequential recommender is, one file a network; and the `Scorer` around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Generic, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trialigngr.catalog.queries import Queries
from trialigngr.evaluate.system import FloatArray
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.device import pick_device
from trialigngr.foundation.errors import ArtifactError, TriAlignError
from trialigngr.foundation.files import whole_file, write_text_atomically
from trialigngr.sequential.batches import SequenceBatch
from trialigngr.sequential.settings import SequentialSettings

WEIGHTS_FILE, CONFIG_FILE = "network.safetensors", "network.json"
S = TypeVar("S", bound=SequentialSettings)


class NextItemNetwork(nn.Module, Generic[S]):
    """Turns each place of a history into a state [D]; the score of an item is the product of its vector with the last
    state. A state must see no item behind its place, and with ``packs_histories`` none of another owner."""

    packs_histories = False

    def __init__(self, settings: S, num_items: int) -> None:
        super().__init__()
        self.settings = settings
        self.items = nn.Embedding(num_items, settings.hidden_size)
        nn.init.normal_(self.items.weight, std=0.02)

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Return the states [B, T, D]."""
        raise NotImplementedError


def load_item_vectors(folder: Path) -> FloatArray:
    """Return the items' vectors float32 [N, D] of the network that `NetworkScorer.save` wrote into ``folder``."""
    vectors_ND: FloatArray = load_file(check_file(folder / WEIGHTS_FILE))["items.weight"].numpy()
    return vectors_ND


class NetworkScorer:
    """A trained network, as a `Scorer`."""

    def __init__(self, name: str, network: NextItemNetwork[SequentialSettings], device: str = "auto") -> None:
        self.name, self.device = name, pick_device(device)
        self.network = network.to(self.device)
        self.max_history: int | None = network.settings.max_history

    @torch.no_grad()
    def score_items(self, queries: Queries) -> FloatArray:
        """Return the scores [B, N] after each history; its last ``max_history`` items count."""
        self.network.eval()
        batch, last_B = SequenceBatch.from_queries(queries.keep_last(self.network.settings.max_history), self.device)
        states_BD = self.network(batch)[torch.arange(len(queries), device=self.device), last_B]
        scores_BN: FloatArray = (states_BD @ self.network.items.weight.T).float().cpu().numpy()
        return scores_BN

    def save(self, folder: Path) -> None:
        """Write weights and shape."""
        with whole_file(folder / WEIGHTS_FILE) as half:
            save_file(self.network.state_dict(), half)
        shape = {"settings": self.network.settings.model_dump(mode="json"), "items": self.network.items.num_embeddings}
        write_text_atomically(folder / CONFIG_FILE, json.dumps(shape) + "\n")

    @classmethod
    def load(
        cls,
        name: str,
        network_type: type[NextItemNetwork[S]],
        settings_type: type[S],
        folder: Path,
        num_items: int,
        device: str,
    ) -> NetworkScorer:
        """Read what `save` wrote; raise `ArtifactError` if it is not there, or not of so many items."""
        path, weights = check_file(folder / CONFIG_FILE), check_file(folder / WEIGHTS_FILE)
        try:
            shape = json.loads(path.read_text(encoding="utf-8"))
            if shape["items"] != num_items:
                raise ValueError(f"it knows {shape['items']} items")
            with torch.device("meta"):  # sizes that a file claims take no memory
                network = network_type(settings_type(**shape["settings"]), num_items)
            network.load_state_dict(load_file(weights), assign=True)
        except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError, TriAlignError) as error:
            first = str(error).splitlines()[0]
            raise ArtifactError(
                f"{folder} holds no {name} of {num_items} items ({first}); run the recipe again."
            ) from None
        return cls(name, network, device)  # type: ignore[arg-type]  # whatever its settings are beside those of all
