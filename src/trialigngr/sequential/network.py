"""`NextItemNetwork`: what a conventional sequential recommender is, one file a network; and the `Scorer` around it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from trialigngr.catalog.histories import Histories
from trialigngr.catalog.item_attributes import ItemAttributes
from trialigngr.catalog.queries import Queries, Rows
from trialigngr.evaluate.system import FloatArray
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.device import pick_device
from trialigngr.foundation.errors import ArtifactError, TriAlignError
from trialigngr.foundation.files import whole_file, write_text_atomically
from trialigngr.sequential.batches import HistoryPieces, SequenceBatch, TrainingBatch
from trialigngr.sequential.blocks import make_embedding
from trialigngr.sequential.settings import SequentialSettings

WEIGHTS_FILE, CONFIG_FILE = "network.safetensors", "network.json"
S = TypeVar("S", bound=SequentialSettings)


@dataclass(frozen=True)
class DataSizes:
    """What a network's tables are as long as."""

    num_items: int
    num_users: int = 0
    num_attributes: int = 0
    attributes_per_item: int = 0


class NextItemNetwork(nn.Module, Generic[S]):
    """Turns each place of a history into a state [D]; the score of an item is the product of its vector with the last
    state. A state must see no item behind its place, and with ``packs_histories`` none of another owner."""

    packs_histories = False
    uses_times = False
    """Whether it asks for times, and goes on without."""

    def __init__(self, settings: S, sizes: DataSizes) -> None:
        super().__init__()
        self.settings, self.sizes = settings, sizes
        self.items = make_embedding(sizes.num_items, settings.hidden_size)

    def read_data(self, histories: Histories, attributes: ItemAttributes | None) -> None:
        """Note what the network keeps of the data beside what it learns: nothing."""

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Return the states [B, T, D]."""
        raise NotImplementedError

    def encode_queries(self, batch: SequenceBatch, last_B: Tensor) -> Tensor:
        """Return the state [B, D] after each history, which ends at ``last_B``."""
        states_BD: Tensor = self(batch)[torch.arange(len(last_B), device=last_B.device), last_B]
        return states_BD

    def find_vectors(self, rows: Tensor | None) -> Tensor:
        """Return the vectors of some items, or of all N."""
        return self.items.weight if rows is None else self.items(rows)

    def scale_vectors(self, rows: Tensor | None) -> Tensor:
        """Return the vectors of items as scores take them: of length 1 where those are cosines."""
        found = self.find_vectors(rows)
        return normalize(found, dim=-1) if self.settings.temperature else found

    def scale_states(self, states: Tensor) -> Tensor:
        """Return states as scores take them."""
        temperature = self.settings.temperature
        return normalize(states, dim=-1) / temperature if temperature else states

    @property
    def piece_length(self) -> int:
        """Inputs of a training piece at most."""
        return self.settings.max_history

    def build_batch(self, pieces: HistoryPieces, chosen: Rows, number: int) -> TrainingBatch:
        """Return pieces as what the network learns from: the next item at every place."""
        return pieces.build_next_batch(chosen, number, packs=self.packs_histories)

    def hide_targets(self, batch: TrainingBatch) -> TrainingBatch:
        """Return a batch as the network sees it in one step; torch's seed is the step's own."""
        return batch

    @property
    def pretrain_epochs(self) -> int:
        """Passes over the users with `compute_pretraining_loss` before the training."""
        return 0

    def compute_pretraining_loss(self, batch: TrainingBatch) -> Tensor:
        """Return the loss of the pre-training on histories that are whole."""
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
        network = self.network.eval()
        batch, last_B = SequenceBatch.from_queries(queries.keep_last(network.settings.max_history), self.device)
        states_BD = network.scale_states(network.encode_queries(batch, last_B))
        scores_BN: FloatArray = (states_BD @ network.scale_vectors(None).T).float().cpu().numpy()
        return scores_BN

    @property
    def item_vectors(self) -> FloatArray:
        """The items' vectors float32 [N, D]."""
        vectors_ND: FloatArray = self.network.items.weight.detach().float().cpu().numpy()
        return vectors_ND

    def save(self, folder: Path) -> None:
        """Write weights and shape."""
        with whole_file(folder / WEIGHTS_FILE) as half:
            save_file(self.network.state_dict(), half)
        shape = {"settings": self.network.settings.model_dump(mode="json"), "sizes": asdict(self.network.sizes)}
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
            sizes = DataSizes(**shape["sizes"])
            if sizes.num_items != num_items:
                raise ValueError(f"it knows {sizes.num_items} items")
            with torch.device("meta"):  # sizes that a file claims take no memory
                network = network_type(settings_type(**shape["settings"]), sizes)
            network.load_state_dict(load_file(weights), assign=True)
        except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError, TriAlignError) as error:
            first = str(error).splitlines()[0]
            raise ArtifactError(
                f"{folder} holds no {name} of {num_items} items ({first}); run the recipe again."
            ) from None
        return cls(name, network, device)  # type: ignore[arg-type]  # whatever its settings are beside those of all
