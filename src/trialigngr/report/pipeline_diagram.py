"""The pipeline in one picture: where its nine rooms stand, on a wide and on a narrow page, and how arrows join them."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from trialigngr.report.page import PipelineStep, StepName

STEP_LABELS: dict[StepName, str] = {
    "catalog": "Photo and title",
    "captions": "Caption",
    "interests": "Interests",
    "embeddings": "Embedding",
    "sids": "Semantic ID",
    "tasks": "Eight tasks",
    "model": "Language model",
    "decode": "Beam search",
    "evaluation": "Ranked items",
}


@dataclass(frozen=True)
class DiagramBox:
    """A box of the picture; ``step`` is None when this run did not have the stage."""

    name: StepName
    label: str
    number: int
    step: PipelineStep | None
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


def _build_boxes(
    steps: tuple[PipelineStep, ...], rectangles: list[tuple[int, int, int, int]]
) -> tuple[DiagramBox, ...]:
    known = {stage.name: stage for stage in steps}
    named = zip(enumerate(STEP_LABELS.items(), 1), rectangles, strict=True)
    return tuple(DiagramBox(name, label, number, known.get(name), *box) for (number, (name, label)), box in named)


def wide_layout(steps: tuple[PipelineStep, ...]) -> DiagramLayout:
    """Return two rows: five rooms that name an item, four that recommend one."""
    width, height, gap, top, below = 1160, 172, 32, 46, 292
    first = (width - 4 * gap) // 5
    second = (width - 3 * gap) // 4
    boxes = [(place * (first + gap), top, first, height) for place in range(5)]
    boxes += [(place * (second + gap), below, second, height) for place in range(4)]
    rows = (boxes[:5], boxes[5:])
    arrows = [f"M{x + w + 4} {y + h // 2}H{x + w + gap - 5}" for row in rows for x, y, w, h in row[:-1]]
    from_x, to_x, middle = boxes[4][0] + first // 2, second // 2, (top + height + below) // 2
    turn = f"V{middle - 10}q0 10 -10 10H{to_x + 10}q-10 0 -10 10V{below - 5}"
    start, end = first // 2, boxes[3][0] + first // 2
    shortcut = f"M{start} {top - 4}V26q0 -12 12 -12H{end - 12}q12 0 12 12V{top - 5}"
    return DiagramLayout(
        "wide",
        width,
        below + height + 2,
        _build_boxes(steps, boxes),
        (*arrows, f"M{from_x} {top + height + 4}{turn}"),
        shortcut,
    )


def tall_layout(steps: tuple[PipelineStep, ...]) -> DiagramLayout:
    """Return one column, for a narrow page."""
    width, height, gap, left = 372, 132, 26, 26
    boxes = [(left, place * (height + gap), width, height) for place in range(len(STEP_LABELS))]
    middle = left + width // 2
    arrows = tuple(f"M{middle} {y + height + 3}v{gap - 8}" for _, y, _, _ in boxes[:-1])
    start, end = height // 2, boxes[3][1] + height // 2
    shortcut = f"M{left - 3} {start}H20q-12 0 -12 12V{end - 12}q0 12 12 12H{left - 5}"
    return DiagramLayout(
        "tall", width + left + 2, boxes[-1][1] + height + 2, _build_boxes(steps, boxes), arrows, shortcut
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
