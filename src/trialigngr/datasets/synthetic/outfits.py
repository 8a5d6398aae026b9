"""How jackets, shoes, bags and notebooks are drawn, one function a noun, on the 0..100 canvas of the easel."""

from __future__ import annotations

from trialigngr.datasets.synthetic.canvas import Canvas, Color, mirror_outline, smooth_curve


def draw_jacket(canvas: Canvas) -> None:
    """A zipped jacket with a collar."""
    canvas.draw_polygon([(31, 25), (17, 36), (10, 72), (21, 75), (32, 46)], "cloth")
    canvas.draw_polygon([(69, 25), (83, 36), (90, 72), (79, 75), (68, 46)], "cloth")
    canvas.draw_polygon(mirror_outline([(41, 18), (29, 26), (29, 84), (50, 86)]), "cloth")
    for x in (29, 71):
        canvas.draw_stroke([(x, 38), (x, 82)], 0.7, "ink", "flat")
    canvas.draw_polygon([(41, 18), (50, 24), (59, 18), (63, 24), (50, 34), (37, 24)], "accent")
    canvas.draw_stroke([(50, 30), (50, 85)], 1.3, "metal")
    for x in (34, 57):
        canvas.draw_box((x, 62, x + 9, 72), 1, "ground")
    canvas.draw_box((29, 81, 71, 86), 1, "accent")


def draw_hooded_jacket(canvas: Canvas) -> None:
    """A jacket with a hood and toggles."""
    canvas.draw_polygon(smooth_curve([(34, 30), (33, 16), (42, 7), (58, 7), (67, 16), (66, 30), (50, 36)]), "ground")
    canvas.draw_polygon(smooth_curve([(39, 28), (39, 18), (46, 13), (54, 13), (61, 18), (61, 28), (50, 33)]), "ink")
    canvas.draw_polygon([(32, 29), (18, 39), (12, 75), (23, 78), (33, 50)])
    canvas.draw_polygon([(68, 29), (82, 39), (88, 75), (77, 78), (67, 50)])
    canvas.draw_polygon(mirror_outline([(37, 25), (29, 31), (27, 90), (50, 92)]))
    for x, foot in ((29, 27.5), (71, 72.5)):
        canvas.draw_stroke([(x, 44), (foot, 90)], 0.7, "ink", "flat")
    canvas.draw_stroke([(50, 34), (50, 91)], 1.2, "ink")
    for y in (44, 58, 72):
        canvas.draw_box((45, y, 55, y + 3.4), 1.5, "wood")


def draw_vest(canvas: Canvas) -> None:
    """A quilted jacket without sleeves."""
    canvas.draw_polygon(mirror_outline([(40, 17), (29, 24), (33, 44), (27, 56), (27, 85), (50, 87)]))
    for y in (38, 50, 62, 74):
        canvas.draw_stroke([(29.5, y), (70.5, y)], 0.9, "ink", "flat")
    canvas.draw_polygon([(40, 17), (50, 21), (60, 17), (61, 25), (50, 30), (39, 25)], "accent")
    canvas.draw_stroke([(50, 28), (50, 86)], 1.4, "metal")


def draw_sneakers(canvas: Canvas) -> None:
    """A laced low shoe, seen from the side."""
    canvas.draw_shadow((8, 76, 94, 88))
    upper = smooth_curve(
        [(12, 66), (13, 48), (18, 41), (28, 47), (38, 42), (46, 43), (62, 57), (78, 61), (88, 67), (90, 75)],
        closed=False,
    )
    canvas.draw_polygon([*upper, (12, 75)])
    canvas.draw_polygon([*smooth_curve([(70, 59), (79, 61), (88, 67), (90, 75)], closed=False), (68, 75)], "accent")
    canvas.draw_box((10, 72, 92, 81), 4, "pale")
    canvas.draw_stroke([(11, 79), (91, 79)], 1.4, "accent", "flat")
    canvas.draw_stroke(smooth_curve([(13, 50), (19, 56), (23, 74)], closed=False), 1.6, "accent", "flat")
    for x, y in ((42, 44), (48, 48), (54, 53)):
        canvas.draw_stroke([(x, y), (x - 5, y + 8)], 1.8, "pale")


def draw_boots(canvas: Canvas) -> None:
    """An ankle boot with a heel, seen from the side."""
    canvas.draw_shadow((14, 82, 92, 93))
    canvas.draw_polygon([(20, 18), (51, 18), (52, 50), (64, 59), (82, 64), (88, 74), (87, 81), (20, 81)], "cloth")
    canvas.draw_box((18, 15, 53, 24), 3, "accent")
    canvas.draw_polygon([(17, 80), (89, 80), (89, 86), (46, 86), (42, 90), (17, 90)], "ink")
    for y in (32, 40, 48):
        canvas.draw_stroke([(41, y), (49.5, y + 2)], 1.8, "pale")


def draw_slip_ons(canvas: Canvas) -> None:
    """A low shoe without laces, seen from the side."""
    canvas.draw_shadow((8, 74, 94, 86))
    canvas.draw_polygon(smooth_curve([(14, 50), (30, 46), (50, 48), (46, 58), (20, 58)]), "ink")
    upper = smooth_curve(
        [(11, 62), (12, 48), (20, 54), (34, 57), (44, 52), (50, 46), (66, 52), (82, 58), (90, 66), (91, 74)],
        closed=False,
    )
    canvas.draw_polygon([*upper, (11, 74)])
    canvas.draw_polygon([(48, 53), (55, 56), (52, 71), (40, 71)], "accent")
    canvas.draw_box((10, 71, 92, 78), 3.5, "wood")


def draw_backpack(canvas: Canvas) -> None:
    """A pack with a front pocket and side straps."""
    canvas.draw_shadow((20, 82, 82, 94))
    canvas.draw_stroke(smooth_curve([(41, 16), (43, 6), (57, 6), (59, 16)], closed=False), 3, "wood")
    for x in (21, 79):
        canvas.draw_box((x - 4, 44, x + 4, 80), 4, "ground")
    canvas.draw_polygon(
        smooth_curve([(26, 84), (25, 40), (30, 20), (42, 12), (58, 12), (70, 20), (75, 40), (74, 84), (50, 87)])
    )
    canvas.draw_polygon(
        smooth_curve(
            [(26, 36), (30, 20), (42, 12), (58, 12), (70, 20), (74, 36), (70, 42), (50, 44), (30, 42)], steps=6
        ),
        "ground",
    )
    canvas.draw_box((33, 55, 67, 80), 5, "ground")
    canvas.draw_stroke([(35, 61), (65, 61)], 1.3, "ink", "flat")
    canvas.draw_box((46, 38, 54, 52), 1.5, "wood")


def draw_tote_bag(canvas: Canvas) -> None:
    """A flat bag with two long handles."""
    canvas.draw_shadow((18, 83, 84, 94))
    canvas.draw_stroke(smooth_curve([(36, 42), (37, 16), (50, 8), (63, 16), (64, 42)], closed=False), 3.2, "accent")
    canvas.draw_polygon([(22, 38), (78, 38), (81, 88), (19, 88)])
    canvas.draw_polygon([(22, 38), (78, 38), (78.3, 43), (21.7, 43)], "ground")
    for x in (36, 64):
        canvas.draw_box((x - 2.6, 36, x + 2.6, 48), 1, "accent")


def draw_duffel_bag(canvas: Canvas) -> None:
    """A long round bag with handles over the middle."""
    canvas.draw_shadow((8, 79, 94, 91))
    canvas.draw_stroke(smooth_curve([(33, 56), (36, 28), (50, 21), (64, 28), (67, 56)], closed=False), 3.4, "wood")
    canvas.draw_box((9, 42, 91, 86), 18, "cloth")
    for x in (10, 78):
        canvas.draw_box((x, 46, x + 12, 83), 6, "ground")
    for x in (33, 67):
        canvas.draw_box((x - 2.8, 48, x + 2.8, 85), 1, "wood")
    canvas.draw_stroke([(24, 48), (76, 48)], 1.3, "ink", "flat")


def draw_notebook(canvas: Canvas) -> None:
    """A bound book with an elastic band."""
    canvas.draw_shadow((22, 84, 84, 95))
    canvas.draw_box((26, 14, 80, 90), 2, "pale", "flat")
    canvas.draw_box((22, 11, 76, 87), 3, "cloth", "flat")
    canvas.draw_box((22, 11, 30, 87), 2, "ground")
    canvas.draw_stroke([(67, 11), (67, 87)], 2, "accent")
    canvas.draw_box((38, 26, 60, 38), 1.5, "pale", "flat")


def draw_planner(canvas: Canvas) -> None:
    """A book with tabs and a ribbon."""
    canvas.draw_shadow((20, 84, 84, 95))
    canvas.draw_stroke([(46, 80), (44, 96)], 2.4, "accent", "flat")
    tabs: tuple[Color, ...] = ("accent", "motif", "ground", "accent")
    for number, colour in enumerate(tabs):
        canvas.draw_box((74, 18 + 16 * number, 85, 29 + 16 * number), 1.5, colour, "flat")
    canvas.draw_box((22, 12, 79, 88), 2, "pale", "flat")
    canvas.draw_box((20, 10, 77, 86), 3, "cloth", "flat")
    canvas.draw_box((20, 10, 77, 20), 2, "ground")
    canvas.draw_ellipse((41, 40, 57, 56), "pale", "flat")


def draw_sketchbook(canvas: Canvas) -> None:
    """A pad with a spiral along the top, and a pencil."""
    canvas.draw_shadow((18, 84, 88, 95))
    canvas.draw_box((18, 18, 76, 88), 1.5, "pale", "flat")
    canvas.draw_box((17, 16, 75, 85), 2, "cloth", "flat")
    for x in range(22, 74, 6):
        canvas.draw_stroke([(x, 12), (x, 21)], 1.8, "metal", "flat")
    canvas.draw_polygon([(80, 28), (87, 28), (87, 78), (80, 78)], "accent", "round")
    canvas.draw_polygon([(80, 78), (87, 78), (83.5, 88)], "pale", "flat")
    canvas.draw_box((80, 22, 87, 29), 1, "metal")
