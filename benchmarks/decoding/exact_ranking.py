"""What beam search misses: its lists beside the exact ranking of the whole catalogue, on a run's own test users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trialigngr.catalog.histories import Split
from trialigngr.decode.beam import Beams, BeamSearch
from trialigngr.decode.exact import compute_exact_scores
from trialigngr.decode.generative_recommender import GenerativeRecommender
from trialigngr.decode.settings import ScoreSoftmax
from trialigngr.foundation.console import show_progress
from trialigngr.foundation.device import pick_device
from trialigngr.metrics.intervals import Estimate, bootstrap_differences, bootstrap_intervals
from trialigngr.metrics.ranks import compute_target_metrics
from trialigngr.runs.run import Run

TOP_K, USERS_PER_BATCH = 10, 4
"""Places that are compared; users scored together."""


@dataclass(frozen=True)
class BeamQuality:
    """One beam width: the share of the exact top 10 SIDs that the beams hold among their own top 10, HR@10 of exact
    scoring, and how far the beams' HR@10 is from it; each the mean over users, with its interval."""

    score_softmax: ScoreSoftmax
    num_beams: int
    num_users: int
    exact_overlap: Estimate
    exact_hit_rate: Estimate
    hit_rate_difference: Estimate


def compare_beams_with_exact(
    run: Run,
    num_users: int = 1000,
    beam_widths: Sequence[int] = (20, 50),
    score_softmax: ScoreSoftmax | None = None,
    part: Split = "test",
) -> list[BeamQuality]:
    """Return how each beam width compares with scoring every item, for a fixed sample of users, nothing masked.

    ``score_softmax`` is the run's own unless given.
    """
    run.check_model()
    parts = run.artifacts
    parts.backbone.prepare_inference(pick_device(run.recipe.train.device))
    own = parts.build_recommender(parts.backbone, parts.chat_template, parts.encode_views(parts.chat_template))
    if score_softmax is not None:
        own = GenerativeRecommender(own.search.with_score_softmax(score_softmax), own.build_prompt, own.settings)
    targets = parts.sample_targets(part, num_users)
    histories, wanted = parts.prompt_histories(targets), parts.histories.target_items(targets)
    exact = _rank_exactly(own.search, [own.build_prompt(history) for history in histories], max(beam_widths))
    hits = {"HR": compute_target_metrics(own.compute_ranks(exact, wanted), (TOP_K,))[f"HR@{TOP_K}"]}
    found = []
    for width in beam_widths:
        settings = own.settings.model_copy(update={"num_beams": width})
        beam = GenerativeRecommender(own.search, own.build_prompt, settings).decode_beams(
            histories, description=f"{width} beams"
        )
        ours = {"HR": compute_target_metrics(own.compute_ranks(beam, wanted), (TOP_K,))[f"HR@{TOP_K}"]}
        overlap = bootstrap_intervals({"overlap": _top_k_overlap(beam, exact)}, targets.users)["overlap"]
        exactly, apart = (
            bootstrap_intervals(hits, targets.users)["HR"],
            bootstrap_differences(ours, hits, targets.users)["HR"],
        )
        found.append(BeamQuality(own.search.score_softmax, width, len(targets), overlap, exactly, apart))
    return found


def _rank_exactly(search: BeamSearch, prompts: list[list[int]], width: int) -> Beams:
    """Return the best leaves by exact score, as if beams had found them."""
    leaves, scores = [], []
    with show_progress("exact scores", len(prompts)) as advance:
        for start in range(0, len(prompts), USERS_PER_BATCH):
            here = prompts[start : start + USERS_PER_BATCH]
            scores_BM = compute_exact_scores(search, here)
            best_BW = np.argsort(-scores_BM, axis=1, kind="stable")[:, :width]
            leaves.append(best_BW)
            scores.append(np.take_along_axis(scores_BM, best_BW, axis=1))
            advance(len(here))
    return Beams(np.concatenate(leaves), np.concatenate(scores))


def _top_k_overlap(beams: Beams, exact: Beams) -> npt.NDArray[np.float64]:
    """Return for each user the share of the exact top 10 leaves among the beams' top 10."""
    rows = zip(beams.leaves_BW[:, :TOP_K], exact.leaves_BW[:, :TOP_K], strict=True)
    return np.array([np.isin(wanted, found).mean() for found, wanted in rows])
