"""Make the run that `trialigngr demo` shows: a small drawn shop, run to its end and packed into the wheel's data.

Run it with ``make demo-run`` (minutes) before a release, and whenever tests/serve/test_demo.py says that the packed run
is not what the code would make. A run is as large as its pictures are many, so the shop is small.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

from trialigngr.pipeline.execute import run
from trialigngr.serve.demo import DEMO_FILE

RECIPE = "trialigngr-demo"
CHANGES = [
    "shop.num_items=64",
    "shop.num_shoppers=600",
    "sids.codebook_sizes=[8,8,8]",
    "model.hidden_size=48",
    "model.ffn_size=96",
    "model.vocab_size=600",
    "tasks.auxiliary_batch_size=24",
    "train.batch_size=64",
    "train.max_steps=500",
    "train.validate_every=100",
    "train.validate_users=300",
]
"""What makes the demo's recipe small."""
LEFT_OUT = {"report.html", ".lock"}
"""Files of a run that the service does not show."""
MAX_BYTES = 3_000_000
DAY = (1980, 1, 1, 0, 0, 0)
"""The date of all files in it, so that the same run is packed to the same bytes."""


def pack_run(folder: Path, to: Path) -> None:
    """Write a run as one file."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in LEFT_OUT)
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path in paths:
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), DAY)
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)


def main() -> None:
    """Make the run and pack it; refuse one that is too large for a wheel."""
    with tempfile.TemporaryDirectory() as folder:
        made = run(RECIPE, None, Path(folder) / "demo", changes=CHANGES)
        packed = Path(folder) / DEMO_FILE.name
        pack_run(made.folder, packed)
        if packed.stat().st_size > MAX_BYTES:
            sys.exit(f"The packed run has {packed.stat().st_size:,} bytes, and {MAX_BYTES:,} may go into the wheel.")
        DEMO_FILE.write_bytes(packed.read_bytes())
    print(f"{DEMO_FILE}: {DEMO_FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
