"""A million items: fit and assign from a memory-mapped file, in a process of its own whose memory is measured."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import Check, at_least, below, peak_memory
from benchmarks.tokenizers.data import mixture
from trialigngr.sids.quantizers.rqkmeans import fit
from trialigngr.sids.quantizers.settings import KMeansSettings

WIDTH, SIZES = 256, (1024, 1024, 1024)
COUNTS = (10_000, 100_000, 1_000_000)


def main() -> None:
    """Fit and assign the vectors in FILE; write seconds into RESULT."""
    source, result = map(Path, sys.argv[1:])
    vectors_ND = np.load(source, mmap_mode="r")
    start = time.perf_counter()
    quantizer = fit(vectors_ND, SIZES, KMeansSettings(), 0)
    fitted = time.perf_counter()
    quantizer.encode(vectors_ND)
    done = time.perf_counter()
    seconds = {"fit": fitted - start, "assign": done - fitted, "gflops": _matmul_rate()}
    result.write_text(json.dumps(seconds), encoding="utf-8")


def _matmul_rate() -> float:
    """Return the GFLOP/s of the plain float32 matmul that assignment needs: a block of rows with all codes."""
    rows_BD = np.random.default_rng(0).standard_normal((16_384, WIDTH), dtype=np.float32)
    codes_DK = np.random.default_rng(1).standard_normal((WIDTH, SIZES[0]), dtype=np.float32)
    best = 0.0
    for _ in range(10):
        start = time.perf_counter()
        rows_BD @ codes_DK
        best = max(best, 2 * rows_BD.size * SIZES[0] / (time.perf_counter() - start) / 1e9)
    return best


def measure(folder: Path) -> list[Check]:
    """Return time, memory, the share of the matmul rate, and how cost grows from 10⁵ to 10⁶ items."""
    seconds, peaks = {}, {}
    for count in COUNTS:
        path, result = folder / "mixture.npy", folder / "seconds.json"
        mixture(count, WIDTH, path)
        peaks[count] = peak_memory([sys.executable, "-m", "benchmarks.tokenizers.large", str(path), str(result)])
        seconds[count] = json.loads(result.read_text(encoding="utf-8"))
        print(f"{count:>9,} items: {seconds[count]}, peak {peaks[count] / 1e9:.2f} GB")
        path.unlink()
    most = seconds[COUNTS[-1]]
    rate = sum(2.0 * COUNTS[-1] * WIDTH * size for size in SIZES) / most["assign"] / 1e9
    growth = most["assign"] / seconds[COUNTS[-2]]["assign"]
    return [
        below("1,000,000 × 256, 3 × 1024: minutes to fit and assign", (most["fit"] + most["assign"]) / 60, 10),
        below("1,000,000 × 256: peak memory (GB)", peaks[COUNTS[-1]] / 1e9, 4),
        at_least("assignment, share of the float32 matmul rate", rate / most["gflops"], 0.6),
        below("assignment: 10 times the items, times the seconds", growth, 13),
    ]


if __name__ == "__main__":
    main()
