"""``python -m benchmarks.decoding.oracle RUN [USERS]``: a trained run's beams against its exact ranking.

Both normalisations, but only its own of a run that was trained on levels alone; what is chosen between
them is chosen on the validation lines.
"""

from __future__ import annotations

import sys
from typing import get_args

from benchmarks.decoding.exact_ranking import compare_beams_with_exact
from benchmarks.harness import Check, at_least, report
from trialigngr.decode.settings import ScoreSoftmax
from trialigngr.runs.run import load

GOALS = {20: 0.93, 50: 0.99}


def main() -> None:
    """Print what beams of 20 and 50 miss."""
    run, users = load(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    levels_alone = run.recipe.train.loss_softmax == "level"
    normalisations = (run.recipe.decode.score_softmax,) if levels_alone else get_args(ScoreSoftmax)
    checks: list[Check] = []
    for part in ("valid", "test"):
        for score_softmax in normalisations:
            for line in compare_beams_with_exact(run, users, tuple(GOALS), score_softmax, part):
                what = f"{part}, {score_softmax}, {line.num_beams} beams, {line.num_users} users"
                print(
                    f"{what}: exact HR@10 {line.exact_hit_rate.value:.4f}; with beams "
                    f"{line.hit_rate_difference.value:+.4f} [{line.hit_rate_difference.low:+.4f}, "
                    f"{line.hit_rate_difference.high:+.4f}]"
                )
                if part == "test":
                    checks.append(
                        at_least(f"{what}: of the exact top 10", line.exact_overlap.value, GOALS[line.num_beams])
                    )
    report("oracle", checks)


if __name__ == "__main__":
    main()
