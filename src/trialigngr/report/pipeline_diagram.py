"""The pipeline in one picture: where its boxes stand, on a wide and on a narrow page, and how arrows join them."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from trialigngr.report.page import PipelineStep

Rectangle = tuple[int, int, int, int]
"""x, y, width, height."""


@dataclass(frozen=True)
class DiagramBox:
    """A box of the picture and its place in the order, from 1."""

    step: PipelineStep
    number: int
    x: int
    y: int
    width: int
    height: int

    @property
    def characters_per_line(self) -> int:
        """How many characters of the small print fit on a line of the box."""
        return (self.width - 32) * 10 // 62


@dataclass(frozen=True)
class DiagramLayout:
    """Boxes and arrows (SVG paths) of a ``width`` × ``height`` drawing; ``image_arrow`` is the way of the pixels."""

    name: str
    width: int
    height: int
    boxes: tuple[DiagramBox, ...]
    arrows: tuple[str, ...]
    image_arrow: str


def _build_boxes(steps: tuple[PipelineStep, ...], rectangles: list[Rectangle]) -> tuple[DiagramBox, ...]:
    return tuple(
        DiagramBox(step, number, *rectangle)
        for number, (step, rectangle) in enumerate(zip(steps, rectangles, strict=True), 1)
    )


def _place_row(num_boxes: int, width: int, gap: int, top: int, height: int) -> list[Rectangle]:
    each = (width - (num_boxes - 1) * gap) // num_boxes if num_boxes else 0
    return [(place * (each + gap), top, each, height) for place in range(num_boxes)]


def _find_image_ends(steps: tuple[PipelineStep, ...]) -> tuple[int, int] | None:
    """Return the places of the box that pixels come from and of the one that they go to."""
    names = [step.name for step in steps]
    return (names.index("catalog"), names.index("embeddings")) if {"catalog", "embeddings"} <= set(names) else None


def wide_layout(steps: tuple[PipelineStep, ...]) -> DiagramLayout:
    """Return two rows, the longer one above: boxes that name an item, boxes that recommend one."""
    width, height, gap, top, below = 1160, 172, 32, 46, 292
    above = (len(steps) + 1) // 2
    rows = [_place_row(above, width, gap, top, height), _place_row(len(steps) - above, width, gap, below, height)]
    arrows = [f"M{x + w + 4} {y + h // 2}H{x + w + gap - 5}" for row in rows for x, y, w, h in row[:-1]]
    if rows[1]:
        (from_x, to_x), middle = (rows[0][-1][0] + rows[0][-1][2] // 2, rows[1][0][2] // 2), (top + height + below) // 2
        turn = f"V{middle - 10}q0 10 -10 10H{to_x + 10}q-10 0 -10 10V{below - 5}"
        arrows.append(f"M{from_x} {top + height + 4}{turn}")
    shortcut, ends = "", _find_image_ends(steps)
    if ends is not None and max(ends) < above:
        start, end = (rows[0][place][0] + rows[0][place][2] // 2 for place in ends)
        shortcut = f"M{start} {top - 4}V26q0 -12 12 -12H{end - 12}q12 0 12 12V{top - 5}"
    return DiagramLayout(
        "wide", width, below + height + 2, _build_boxes(steps, rows[0] + rows[1]), tuple(arrows), shortcut
    )


def tall_layout(steps: tuple[PipelineStep, ...]) -> DiagramLayout:
    """Return one column, for a narrow page."""
    width, height, gap, left = 372, 132, 26, 26
    boxes = [(left, place * (height + gap), width, height) for place in range(len(steps))]
    middle = left + width // 2
    arrows = tuple(f"M{middle} {y + height + 3}v{gap - 8}" for _, y, _, _ in boxes[:-1])
    shortcut, ends = "", _find_image_ends(steps)
    if ends is not None:
        start, end = (boxes[place][1] + height // 2 for place in ends)
        shortcut = f"M{left - 3} {start}H20q-12 0 -12 12V{end - 12}q0 12 12 12H{left - 5}"
    return DiagramLayout(
        "tall", width + left + 2, len(steps) * (height + gap) - gap + 2, _build_boxes(steps, boxes), arrows, shortcut
    )


def _count_cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def wrap_text(text: str, width: int, max_lines: int) -> list[str]:
    """Return ``text`` on at most ``max_lines`` lines of ``width`` cells (wide letters take two), an ellipsis if cut."""
    made: list[str] = [""]
    for word in text.split()[: width * max_lines]:
        for piece in _split_word(word, width):
            if made[-1] and _count_cells(made[-1]) + 1 + _count_cells(piece) > width:
                made.append("")
            made[-1] += (" " if made[-1] else "") + piece
        if len(made) > max_lines:
            return [*made[: max_lines - 1], _split_word(made[max_lines - 1], width - 1)[0].rstrip(" ,.;:") + "…"]
    return made


def _split_word(word: str, width: int) -> list[str]:
    pieces = [""]
    for letter in word[: width * 8]:
        if _count_cells(pieces[-1]) + _count_cells(letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces
