"""The offline captioner: what was measured on a picture, said in words. It understands nothing and invents nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from trialigngr.images.colors import COLOR_FAMILIES, COLOR_NAMES, Float32Array, compute_name_chroma
from trialigngr.images.visual_features import VisualFeatures, measure_image
from trialigngr.pretrained.efficientnet import load_class_names, load_efficientnet

MIN_CLASS_PROBABILITY = 0.4
"""Class probability from which an object is named; below it the words would change between similar pictures."""


class MeasuredCaptioner:
    """Describes palette, light, pattern, composition and, where the classifier is sure, the kind of object."""

    def __init__(self, device: str = "auto") -> None:
        self.classifier = load_efficientnet(device)

    def describe_images(self, images: Sequence[Image.Image]) -> list[str]:
        """Return one caption of one to three sentences a picture, the same for the same pixels."""
        if not images:
            return []
        probabilities_BC = self.classifier.predict_probabilities(self.classifier.extract_features(images))
        kinds = [
            load_class_names()[row.argmax()] if row.max() >= MIN_CLASS_PROBABILITY else None for row in probabilities_BC
        ]
        return [compose_caption(measure_image(picture), kind) for picture, kind in zip(images, kinds, strict=True)]


def compose_caption(features: VisualFeatures, kind: str | None = None) -> str:
    """Return the look in words."""
    scene = _describe_subject(features) if features.has_background else _describe_full_frame(features)
    resembles = f" It resembles {add_article(kind)}." if kind else ""
    return f"{scene} {_describe_tone(features)}{resembles}"


def add_article(noun: str) -> str:
    """Return the noun behind "a" or "an"."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def describe_palette(shares_C: Float32Array) -> str:
    """Return up to three colours in words, the most striking first, and one strong colour of which there is a little.

    Names of one family count together; what strikes is a family's share and how colourful it is.
    """
    striking_C = shares_C * (0.6 + 4 * compute_name_chroma())
    families = [[COLOR_NAMES.index(name) for name in names] for names in COLOR_FAMILIES.values()]
    weights = np.array([striking_C[family].sum() for family in families]) / max(float(striking_C.sum()), 1e-9)
    order = [int(place) for place in np.argsort(-weights, kind="stable")]
    shades = [COLOR_NAMES[max(families[place], key=lambda name: striking_C[name])] for place in order]
    large = [shade for shade, place in zip(shades, order, strict=True) if weights[place] >= 0.08][:3] or ["grey"]
    touch = next((shade for shade in shades[len(large) :] if _is_accent(shade, shares_C)), None)
    mostly = shares_C[families[order[0]]].sum() >= 0.55
    return _list_colors(large, mostly) + (f" plus a touch of {touch}" if touch else "")


def _is_accent(shade: str, shares_C: Float32Array) -> bool:
    return bool(shares_C[COLOR_NAMES.index(shade)] > 0.02 and compute_name_chroma()[COLOR_NAMES.index(shade)] > 0.12)


def _list_colors(names: list[str], mostly: bool) -> str:
    first, *rest = names
    if not rest:
        return first
    return f"mainly {first} with {' and '.join(rest)}" if mostly else " and ".join([", ".join(names[:-1]), names[-1]])


def _describe_outline(features: VisualFeatures) -> str:
    if features.aspect_ratio > 1.8:
        return "tall narrow"
    if features.aspect_ratio < 0.55:
        return "long flat"
    if features.box_fill > 0.9:
        return "boxy"
    if 0.72 < features.box_fill <= 0.84 and 0.8 < features.aspect_ratio < 1.25 and abs(features.taper) < 0.2:
        return "round"
    if abs(features.taper) > 0.35:
        return "tapered" if features.taper > 0 else "top-heavy"
    return "compact" if features.box_fill > 0.6 else "open, irregular"


PATTERN_PHRASES = {
    "plain": "an even surface",
    "lightly textured": "a light texture",
    "shaded": "soft shading",
    "varied": "patches of different tone",
    "checks": "a checked pattern",
    "dots": "a dotted pattern",
}


def _describe_size(features: VisualFeatures) -> str:
    share = features.subject_share
    return "small in the frame" if share < 0.12 else "filling much of the frame" if share > 0.45 else "medium-sized"


def _describe_position(features: VisualFeatures) -> str:
    right, down = features.subject_offset
    if max(abs(right), abs(down)) < 0.15:
        return "centred"
    if abs(right) >= abs(down):
        return "to the right" if right > 0 else "to the left"
    return "low" if down > 0 else "high"


def _describe_subject(features: VisualFeatures) -> str:
    colours, pattern = (
        describe_palette(features.subject_colors),
        PATTERN_PHRASES.get(features.pattern.name, features.pattern.name),
    )
    opening = f"{add_article(_describe_outline(features)).capitalize()} subject in {colours}, with {pattern}"
    size_and_position = f"{_describe_size(features)} and {_describe_position(features)}"
    return f"{opening}, {size_and_position} on a plain {features.background_color} background."


def _describe_full_frame(features: VisualFeatures) -> str:
    shape = features.height / features.width
    frame = "portrait" if shape > 1.15 else "landscape" if shape < 0.87 else "square"
    busy = (
        "busy, detailed"
        if features.detail > 0.05
        else "calm, sparse"
        if features.detail < 0.025
        else "moderately detailed"
    )
    repeated = features.pattern.name.endswith("stripes") or features.pattern.name in ("checks", "dots")
    pattern = (
        f" with {PATTERN_PHRASES.get(features.pattern.name, features.pattern.name)}"
        if repeated and features.pattern.periodicity > 0.5
        else ""
    )
    ground = f" with a mostly {features.background_color} edge," if features.evenness > 0.6 else ""
    lit = f", {_describe_lighting(features)}" if _describe_lighting(features) else ""
    colors = describe_palette(features.image_colors)
    return f"{add_article(busy).capitalize()} {frame} picture{ground} in {colors}{pattern}{lit}."


def _describe_lighting(features: VisualFeatures) -> str:
    if abs(features.vertical_falloff) > max(0.12, abs(features.center_glow)):
        return "lighter towards the top" if features.vertical_falloff > 0 else "lighter towards the bottom"
    if abs(features.center_glow) > 0.08:
        return "lit in the middle" if features.center_glow > 0 else "darker in the middle"
    return ""


def _describe_tone(features: VisualFeatures) -> str:
    light = _pick_word(
        features.lightness, (0.3, 0.45, 0.65, 0.82), ("very dark", "dark", "mid-toned", "bright", "very bright")
    )
    vivid = _pick_word(features.chroma, (0.02, 0.05, 0.09), ("nearly colourless", "muted", "colourful", "vivid"))
    contrast = _pick_word(features.contrast, (0.12, 0.25), ("soft contrast", "medium contrast", "strong contrast"))
    warm = _pick_word(features.warmth, (-0.015, 0.02), (", cool", "", ", warm")) if features.chroma >= 0.02 else ""
    return f"The look is {light}, {vivid}{warm}, with {contrast}."


def _pick_word(value: float, bounds: tuple[float, ...], words: tuple[str, ...]) -> str:
    return words[sum(value >= bound for bound in bounds)]
