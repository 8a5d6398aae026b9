"""SASRec + counts: SASRec's softmax over all items, mixed with the counts as the generator's probabilities are."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from trialigngr.evaluate.system import ScorerSystem
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.files import write_text_atomically
from trialigngr.systems.priors import MixedScorer, find_scorer, make_prior
from trialigngr.systems.settings import SasRecCountsSettings
from trialigngr.systems.spec import Facts, SystemInputs

MIXTURE_FILE = "mixture.json"


def fit_sasrec_counts(_inputs: SystemInputs, settings: SasRecCountsSettings, out: Path) -> Facts:
    """Write how the two are mixed; both are fitted by themselves."""
    write_text_atomically(out / MIXTURE_FILE, settings.model_dump_json() + "\n")
    return {}


def load_sasrec_counts(inputs: SystemInputs, folder: Path) -> ScorerSystem:
    """Read what `fit_sasrec_counts` wrote, and both systems; raise `ArtifactError` where that is no mixture."""
    path = check_file(folder / MIXTURE_FILE)
    try:
        chosen = SasRecCountsSettings.model_validate_json(path.read_bytes())
    except ValidationError:
        raise ArtifactError(f"{path} says nothing of a mixture; run the recipe again.") from None
    sasrec, counts = inputs.load_system("sasrec"), inputs.load_system("counts")
    prior = make_prior(counts, len(inputs.catalog), chosen.mixing_weight, chosen.confidence)
    return ScorerSystem(MixedScorer("sasrec_counts", find_scorer(sasrec), prior))
