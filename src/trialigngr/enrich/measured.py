"""The offline captioner: what was measured on a picture, said in words. It understands nothing and invents nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from trialigngr.images.colors import FAMILIES, NAMES, Floats, chroma_of_names
from trialigngr.images.looks import Look, measure
from trialigngr.pretrained.efficientnet import class_names, load_efficientnet

SURE = 0.4
"""Class probability from which an object is named; below it the words would change between similar pictures."""


class MeasuredCaptioner:
    """Describes palette, light, pattern, composition and, where the classifier is sure, the kind of object."""

    name = "measured"

    def __init__(self, device: str = "auto") -> None:
        self.classifier = load_efficientnet(device)

    def describe(self, pictures: Sequence[Image.Image]) -> list[str]:
        """Return one caption of one to three sentences a picture, the same for the same pixels."""
        if not pictures:
            return []
        probabilities_BC = self.classifier.class_probabilities(self.classifier.features(pictures))
        kinds = [class_names()[row.argmax()] if row.max() >= SURE else None for row in probabilities_BC]
        return [say(measure(picture), kind) for picture, kind in zip(pictures, kinds, strict=True)]


def say(look: Look, kind: str | None = None) -> str:
    """Return the look in words."""
    scene = _subject(look) if look.has_background else _full_frame(look)
    resembles = f" It resembles {with_article(kind)}." if kind else ""
    return f"{scene} {_light(look)}{resembles}"


def with_article(noun: str) -> str:
    """Return the noun behind "a" or "an"."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def palette(shares_C: Floats) -> str:
    """Return up to three colours in words, the most striking first, and one strong colour of which there is a little.

    Names of one family count together; what strikes is a family's share and how colourful it is.
    """
    striking_C = shares_C * (0.6 + 4 * chroma_of_names())
    families = [[NAMES.index(name) for name in names] for names in FAMILIES.values()]
    weights = np.array([striking_C[family].sum() for family in families]) / max(float(striking_C.sum()), 1e-9)
    order = [int(place) for place in np.argsort(-weights, kind="stable")]
    shades = [NAMES[max(families[place], key=lambda name: striking_C[name])] for place in order]
    large = [shade for shade, place in zip(shades, order, strict=True) if weights[place] >= 0.08][:3] or ["grey"]
    touch = next((shade for shade in shades[len(large) :] if _is_accent(shade, shares_C)), None)
    mostly = shares_C[families[order[0]]].sum() >= 0.55
    return _list_colours(large, mostly) + (f" plus a touch of {touch}" if touch else "")


def _is_accent(shade: str, shares_C: Floats) -> bool:
    return bool(shares_C[NAMES.index(shade)] > 0.02 and chroma_of_names()[NAMES.index(shade)] > 0.12)


def _list_colours(names: list[str], mostly: bool) -> str:
    first, *rest = names
    if not rest:
        return first
    return f"mainly {first} with {' and '.join(rest)}" if mostly else " and ".join([", ".join(names[:-1]), names[-1]])


def _outline(look: Look) -> str:
    if look.tall > 1.8:
        return "tall narrow"
    if look.tall < 0.55:
        return "long flat"
    if look.fill > 0.9:
        return "boxy"
    if 0.72 < look.fill <= 0.84 and 0.8 < look.tall < 1.25 and abs(look.pinch) < 0.2:
        return "round"
    if abs(look.pinch) > 0.35:
        return "tapered" if look.pinch > 0 else "top-heavy"
    return "compact" if look.fill > 0.6 else "open, irregular"


PATTERNS = {
    "plain": "an even surface",
    "lightly textured": "a light texture",
    "shaded": "soft shading",
    "varied": "patches of different tone",
    "checks": "a checked pattern",
    "dots": "a dotted pattern",
}


def _size(look: Look) -> str:
    share = look.subject
    return "small in the frame" if share < 0.12 else "filling much of the frame" if share > 0.45 else "medium-sized"


def _place(look: Look) -> str:
    right, down = look.offset
    if max(abs(right), abs(down)) < 0.15:
        return "centred"
    if abs(right) >= abs(down):
        return "to the right" if right > 0 else "to the left"
    return "low" if down > 0 else "high"


def _subject(look: Look) -> str:
    colours, pattern = palette(look.colours), PATTERNS.get(look.pattern.name, look.pattern.name)
    opening = f"{with_article(_outline(look)).capitalize()} subject in {colours}, with {pattern}"
    return f"{opening}, {_size(look)} and {_place(look)} on a plain {look.background} background."


def _full_frame(look: Look) -> str:
    shape = look.height / look.width
    frame = "portrait" if shape > 1.15 else "landscape" if shape < 0.87 else "square"
    busy = "busy, detailed" if look.detail > 0.05 else "calm, sparse" if look.detail < 0.025 else "moderately detailed"
    repeated = look.pattern.name.endswith("stripes") or look.pattern.name in ("checks", "dots")
    pattern = (
        f" with {PATTERNS.get(look.pattern.name, look.pattern.name)}" if repeated and look.pattern.repeat > 0.5 else ""
    )
    ground = f" with a mostly {look.background} edge," if look.evenness > 0.6 else ""
    lit = f", {_lit(look)}" if _lit(look) else ""
    return f"{with_article(busy).capitalize()} {frame} picture{ground} in {palette(look.whole_colours)}{pattern}{lit}."


def _lit(look: Look) -> str:
    if abs(look.fall) > max(0.12, abs(look.glow)):
        return "lighter towards the top" if look.fall > 0 else "lighter towards the bottom"
    if abs(look.glow) > 0.08:
        return "lit in the middle" if look.glow > 0 else "darker in the middle"
    return ""


def _light(look: Look) -> str:
    light = _step(look.lightness, (0.3, 0.45, 0.65, 0.82), ("very dark", "dark", "mid-toned", "bright", "very bright"))
    vivid = _step(look.chroma, (0.02, 0.05, 0.09), ("nearly colourless", "muted", "colourful", "vivid"))
    contrast = _step(look.contrast, (0.12, 0.25), ("soft contrast", "medium contrast", "strong contrast"))
    warm = _step(look.warmth, (-0.015, 0.02), (", cool", "", ", warm")) if look.chroma >= 0.02 else ""
    return f"The look is {light}, {vivid}{warm}, with {contrast}."


def _step(value: float, bounds: tuple[float, ...], words: tuple[str, ...]) -> str:
    return words[sum(value >= bound for bound in bounds)]
