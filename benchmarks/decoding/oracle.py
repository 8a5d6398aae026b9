"""``python -m benchmarks.decoding.oracle RUN [USERS]``: a trained run's beams against its exact ranking.

Both normalisations, but only its own of a run that was trained on levels alone; what is chosen between
them is chosen on the validation lines.
"""

from __future__ import annotations

import sys
from typing import get_args

from benchmarks.harness import Check, at_least, report
from trialigngr.decode.head import Normalisation
from trialigngr.pipeline import load
from trialigngr.pipeline.oracle import against_exact

GOALS = {20: 0.93, 50: 0.99}


def main() -> None:
    """Print what beams of 20 and 50 miss."""
    run, users = load(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    levels_alone = run.recipe.train.softmax == "level"
    normalisations = (run.recipe.decode.normalisation,) if levels_alone else get_args(Normalisation)
    checks: list[Check] = []
    for part in ("valid", "test"):
        for normalisation in normalisations:
            for line in against_exact(run, users, tuple(GOALS), normalisation, part):
                what = f"{part}, {normalisation}, {line.beams} beams, {line.users} users"
                print(
                    f"{what}: exact HR@10 {line.exact.value:.4f}; with beams {line.difference.value:+.4f} "
                    f"[{line.difference.low:+.4f}, {line.difference.high:+.4f}]"
                )
                if part == "test":
                    checks.append(at_least(f"{what}: of the exact top 10", line.overlap.value, GOALS[line.beams]))
    report("oracle", checks)


if __name__ == "__main__":
    main()
