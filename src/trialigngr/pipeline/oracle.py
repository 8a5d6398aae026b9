"""What beam search misses: its lists beside the exact ranking of the whole catalogue, on a run's own test users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trialigngr.catalog.histories import Part
from trialigngr.decode.beam import Beams, BeamSearch
from trialigngr.decode.exact import exact_scores
from trialigngr.decode.head import Normalisation
from trialigngr.decode.recommend import Recommender
from trialigngr.foundation.console import progress
from trialigngr.foundation.device import pick_device
from trialigngr.metrics.intervals import Estimate, bootstrap, paired
from trialigngr.metrics.ranks import per_target
from trialigngr.runs.run import Run

TOP, TOGETHER = 10, 4
"""Places that are compared; users scored together."""


@dataclass(frozen=True)
class AgainstExact:
    """One beam width: the share of the exact top 10 SIDs that the beams hold among their own top 10, HR@10 of exact
    scoring, and how far the beams' HR@10 is from it; each the mean over users, with its interval."""

    normalisation: Normalisation
    beams: int
    users: int
    overlap: Estimate
    exact: Estimate
    difference: Estimate


def against_exact(
    run: Run,
    users: int = 1000,
    beams: Sequence[int] = (20, 50),
    normalisation: Normalisation | None = None,
    part: Part = "test",
) -> list[AgainstExact]:
    """Return how each beam width compares with scoring every item, for a fixed sample of users, nothing masked.

    ``normalisation`` is the run's own unless given.
    """
    run.check_model()
    parts = run.parts
    parts.backbone.model.to(pick_device(run.recipe.train.device)).eval()
    own = parts.recommender(parts.backbone, parts.chat, parts.views(parts.chat))
    if normalisation is not None:
        own = Recommender(own.search.normalised(normalisation), own.prompt, own.settings)
    targets = parts.sample(part, users)
    histories, wanted = parts.histories_of(targets), parts.histories.target_items(targets)
    exact = _exact(own.search, [own.prompt(history) for history in histories], max(beams))
    hits = {"HR": per_target(own.ranks(exact, wanted), (TOP,))[f"HR@{TOP}"]}
    found = []
    for width in beams:
        settings = own.settings.model_copy(update={"beams": width})
        beam = Recommender(own.search, own.prompt, settings).all_beams(histories, what=f"{width} beams")
        ours = {"HR": per_target(own.ranks(beam, wanted), (TOP,))[f"HR@{TOP}"]}
        overlap = bootstrap({"overlap": _overlap(beam, exact)}, targets.users)["overlap"]
        exactly, apart = bootstrap(hits, targets.users)["HR"], paired(ours, hits, targets.users)["HR"]
        found.append(AgainstExact(own.search.normalisation, width, len(targets), overlap, exactly, apart))
    return found


def _exact(search: BeamSearch, prompts: list[list[int]], width: int) -> Beams:
    """Return the best leaves by exact score, as if beams had found them."""
    leaves, scores = [], []
    with progress("exact scores", len(prompts)) as advance:
        for start in range(0, len(prompts), TOGETHER):
            here = prompts[start : start + TOGETHER]
            scores_BM = exact_scores(search, here)
            best_BW = np.argsort(-scores_BM, axis=1, kind="stable")[:, :width]
            leaves.append(best_BW)
            scores.append(np.take_along_axis(scores_BM, best_BW, axis=1))
            advance(len(here))
    return Beams(np.concatenate(leaves), np.concatenate(scores))


def _overlap(beams: Beams, exact: Beams) -> npt.NDArray[np.float64]:
    """Return for each user the share of the exact top 10 leaves among the beams' top 10."""
    rows = zip(beams.leaves_BW[:, :TOP], exact.leaves_BW[:, :TOP], strict=True)
    return np.array([np.isin(wanted, found).mean() for found, wanted in rows])
