"""Runs on a hub: a run that was pushed is downloaded once and opened like any other folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from trialigngr.foundation.errors import ArgumentError, ArtifactError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SCHEME = "hf://"
SUFFIXES = (".jinja", ".json", ".md", ".parquet", ".safetensors", ".toml", ".txt")
"""Files that a pushed run is made of: data that no program runs. Nothing else goes up or comes down."""
MAX_BYTES = 50_000_000_000
"""Most that a pushed run may hold."""
_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def open_hub() -> HfApi:
    """Return the hub's client; ``HF_ENDPOINT`` names another hub, ``HF_TOKEN`` says who asks."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"))


@contextmanager
def explain_hub_errors(what: str) -> Iterator[None]:
    """Raise `ArtifactError` that says what could not be done, and why, in place of the client's errors."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ArtifactError(f"{what}: {reason.rstrip('.')}.") from None


def download_run(address: str) -> Path:
    """Return the folder of the run at ``hf://OWNER/NAME``, or ``hf://OWNER/NAME@REVISION``, downloaded where it is not.

    Raises `ArgumentError` for what is no such address, `ArtifactError` for what cannot be had, is no run or too large.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ArgumentError(
            f"{address} is no address of a run; they are like hf://OWNER/NAME or hf://OWNER/NAME@REVISION."
        )
    name, revision = found[1], found[2]
    patterns = [f"*{suffix}" for suffix in SUFFIXES]
    hub = open_hub()
    with explain_hub_errors(f"{address} cannot be loaded"):
        if not _is_offline():
            info = hub.model_info(name, revision=revision, files_metadata=True)
            files = {one.rfilename: one.size or 0 for one in info.siblings or ()}
            check_total_size(address, sum(files.values()))
            if "recipe.toml" not in files:
                raise ArtifactError(f"{address} is not a run: it has no recipe.toml.")
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=patterns))


def check_total_size(what: str, size: int) -> None:
    """Raise `ArtifactError` for more than a pushed run may hold."""
    if size > MAX_BYTES:
        raise ArtifactError(f"{what} holds {size / 1e9:,.1f} GB; a pushed run holds at most {MAX_BYTES / 1e9:,.0f}.")


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)
