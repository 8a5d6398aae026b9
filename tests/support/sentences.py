"""What the packaged sentence encoder said about a list of texts, kept for all runs of a session of tests.

Two thirds of the work of a tiny run is to encode the texts of its sixty items, which are those of the run before it. A
list of texts is encoded as a whole once, so that each vector is what it would be without this, bit for bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

folder: Path | None = None
"""Where vectors are kept; without one, nothing is. Set by tests/conftest.py."""


class RememberedEncoder:
    """The encoder on a device, loaded when a list of texts is new."""

    def __init__(self, device: str, load: Any) -> None:
        from trialigngr.foundation.device import pick_device

        self.device, self._load = pick_device(device), lambda: load(device)

    def encode(self, texts: list[str], **how: Any) -> Any:
        """Return the vectors of the texts as tensors."""
        import torch

        assert folder is not None
        said = json.dumps([texts, str(self.device), torch.is_autocast_enabled(self.device.type)])
        path = folder / f"{sha256(said.encode()).hexdigest()}.npy"
        if not path.exists():
            vectors = [vector.float().cpu().numpy() for vector in self._load().encode(texts, **how)]
            half = path.with_suffix(f".{os.getpid()}.npy")
            np.save(half, np.stack(vectors))
            half.replace(path)
        return torch.from_numpy(np.load(path)).unbind()


@contextmanager
def remembered_sentences() -> Iterator[None]:
    """Let the packaged encoder remember while the block lasts."""
    if folder is None:
        yield
        return
    from trialigngr.pretrained import minilm

    load = minilm.load_minilm
    with patch.object(minilm, "load_minilm", lambda device="auto": RememberedEncoder(device, load)):
        yield
