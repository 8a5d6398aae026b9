"""RecTools' side, in a process of an environment of its own: ``python rectools_side.py FOLDER NETWORK``.

FOLDER holds ``sizes.json``, ``training.csv`` and ``histories.csv`` (user, item, place). The network is trained on the
first and asked after the second; its lists go to ``NETWORK.csv`` (user, place, item), what it took to ``NETWORK.json``.
Nothing of ours is imported, since that environment has none of it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
from rectools.dataset import Dataset
from rectools.models.nn.transformers.bert4rec import BERT4RecModel
from rectools.models.nn.transformers.hstu import HSTUModel
from rectools.models.nn.transformers.sasrec import SASRecModel

K = 10


def read_interactions(path: Path) -> Any:
    """Return a log as their data set: the place in a history stands for the time."""
    table = pd.read_csv(path)
    days = pd.to_datetime(table["place"], unit="D")
    return Dataset.construct(
        pd.DataFrame({"user_id": table["user"], "item_id": table["item"], "weight": 1, "datetime": days})
    )


def build_network(name: str, sizes: dict[str, Any]) -> Any:
    """Return a network of theirs in our sizes: softmax over all items, Adam at a constant rate."""
    common = {
        "n_blocks": sizes["num_layers"], "n_heads": sizes["num_heads"], "n_factors": sizes["hidden_size"],
        "dropout_rate": sizes["dropout"], "session_max_len": sizes["max_history"], "loss": "softmax",
        "lr": sizes["learning_rate"], "batch_size": sizes["batch_size"], "epochs": sizes["epochs"],
    }  # fmt: skip
    if name == "sasrec":
        return SASRecModel(**common)
    if name == "bert4rec":
        return BERT4RecModel(**common, mask_prob=sizes["mask_ratio"])
    return HSTUModel(**common, relative_time_attention=False)


def main(folder: Path, name: str) -> None:
    """Train, rank and write both."""
    sizes = json.loads((folder / "sizes.json").read_text(encoding="utf-8"))
    training, histories = (read_interactions(folder / f"{part}.csv") for part in ("training", "histories"))
    network = build_network(name, sizes)
    started = time.perf_counter()
    network.fit(training)
    seconds = time.perf_counter() - started
    users = histories.user_id_map.external_ids
    lists = network.recommend(users, histories, K, filter_viewed=False, on_unsupported_targets="ignore")
    lists.rename(columns={"user_id": "user", "rank": "place", "item_id": "item"})[["user", "place", "item"]].to_csv(
        folder / f"{name}.csv", index=False
    )
    (folder / f"{name}.json").write_text(json.dumps({"seconds": seconds}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
