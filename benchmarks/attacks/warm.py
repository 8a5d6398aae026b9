"""Loads, when it is imported, all that a run loads: processes forked from one that has begin where it matters."""

from trialigngr.enrich.lexicon import load_lexicon
from trialigngr.pretrained.efficientnet import load_efficientnet
from trialigngr.pretrained.minilm import load_minilm

load_minilm("auto")
load_efficientnet("auto")
for _kind in ("interests", "lifestyles"):
    load_lexicon(_kind, "auto")
