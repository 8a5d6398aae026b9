"""Peak memory of one decode, each way in a process of its own."""

from __future__ import annotations

import sys

from benchmarks.decoding.data import ITEMS, model, prompts, search
from benchmarks.decoding.others import callback, generated
from benchmarks.harness import Check, below, peak_memory

BEAMS = 20


def main() -> None:
    """Decode once: ``ours``, ``generate``, or ``nothing`` but load the model."""
    own, asked = model(), prompts()
    if sys.argv[1] == "ours":
        search(own)(asked, BEAMS)
    elif sys.argv[1] == "generate":
        generated(own, asked, BEAMS, prefix_allowed_tokens_fn=callback(ITEMS))


def measure() -> list[Check]:
    """Return what we take above the model, of what `generate` takes above it."""
    words = [sys.executable, "-m", "benchmarks.decoding.memory"]
    peaks = {what: peak_memory([*words, what]) for what in ("nothing", "ours", "generate")}
    print({what: f"{peak / 1e9:.2f} GB" for what, peak in peaks.items()})
    above = {what: max(peak - peaks["nothing"], 1) for what, peak in peaks.items()}
    return [below("memory above the model's, of generate's", above["ours"] / above["generate"], 0.5)]


if __name__ == "__main__":
    main()
