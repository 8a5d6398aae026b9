"""How mugs, teapots, lamps and chairs are drawn, one function a noun, on the 0..100 canvas of the easel."""

from __future__ import annotations

from trialigngr.datasets.synthetic.canvas import Canvas, mirror_outline, smooth_curve


def draw_mug(canvas: Canvas) -> None:
    """A straight mug with a handle."""
    canvas.draw_shadow((22, 78, 80, 90))
    canvas.draw_stroke(smooth_curve([(62, 40), (80, 40), (83, 55), (74, 68), (61, 70)], closed=False), 6, "ground")
    canvas.draw_polygon(mirror_outline([(26, 29), (26, 78), (29, 83), (37, 85.5)], 45), "cloth", "round")
    canvas.draw_ellipse((26, 23, 64, 35), "pale", "flat")
    canvas.draw_ellipse((28.5, 25, 61.5, 34), "ink", "flat")


def draw_cup(canvas: Canvas) -> None:
    """A bowl of a cup on its saucer."""
    canvas.draw_shadow((14, 77, 88, 91))
    canvas.draw_ellipse((15, 73, 85, 89), "ground", "soft")
    canvas.draw_ellipse((27, 76, 73, 86), "motif", "soft")
    canvas.draw_stroke(smooth_curve([(68, 47), (82, 44), (84, 56), (66, 65)], closed=False), 5, "accent")
    canvas.draw_polygon(
        smooth_curve([(24, 42), (27, 62), (38, 78), (48, 81), (58, 78), (69, 62), (72, 42)]), "cloth", "round"
    )
    canvas.draw_ellipse((24, 35, 72, 48), "pale", "flat")
    canvas.draw_ellipse((27, 37, 69, 46.5), "wood", "flat")


def draw_tumbler(canvas: Canvas) -> None:
    """A tapered beaker without a handle."""
    canvas.draw_shadow((27, 80, 76, 91))
    canvas.draw_polygon(mirror_outline([(27, 24), (35, 83), (40, 86)]), "cloth", "round")
    canvas.draw_ellipse((27, 18, 73, 30), "pale", "flat")
    canvas.draw_ellipse((29.5, 20, 70.5, 29), "ink", "flat")


def draw_teapot(canvas: Canvas) -> None:
    """A round pot with spout and handle."""
    canvas.draw_shadow((18, 78, 84, 91))
    canvas.draw_stroke(smooth_curve([(66, 44), (84, 38), (89, 54), (80, 68), (66, 70)], closed=False), 5.5, "accent")
    canvas.draw_polygon(
        smooth_curve([(34, 60), (22, 52), (16, 36), (10, 33), (12, 30), (22, 34), (28, 44), (38, 48)]), "ground"
    )
    canvas.draw_polygon(
        smooth_curve(
            [(25, 60), (30, 43), (44, 36), (58, 36), (71, 43), (76, 60), (69, 78), (58, 84), (43, 84), (31, 78)]
        ),
        "cloth",
        "round",
    )
    canvas.draw_polygon(smooth_curve([(38, 38), (42, 31), (50, 29), (59, 31), (63, 38), (51, 41)]), "ground")
    canvas.draw_ellipse((46.5, 22, 54.5, 30), "accent")


def draw_coffee_pot(canvas: Canvas) -> None:
    """A tall pot that narrows to the top."""
    canvas.draw_shadow((25, 82, 80, 92))
    canvas.draw_stroke(smooth_curve([(62, 34), (80, 34), (82, 52), (70, 72)], closed=False), 5, "wood")
    canvas.draw_polygon([(38, 30), (24, 25), (30, 38), (36, 46)], "ground")
    canvas.draw_polygon(mirror_outline([(36, 27), (34, 50), (28, 84), (32, 87)]), "cloth", "round")
    canvas.draw_polygon(smooth_curve([(35, 28), (42, 20), (50, 18), (58, 20), (65, 28), (50, 30)]), "accent")
    canvas.draw_ellipse((46.5, 11.5, 53.5, 19))


def draw_kettle(canvas: Canvas) -> None:
    """A low kettle with a handle over the top."""
    canvas.draw_shadow((15, 79, 86, 91))
    canvas.draw_stroke(
        smooth_curve([(29, 48), (28, 26), (40, 14), (60, 14), (72, 26), (71, 48)], closed=False), 4.5, "wood"
    )
    canvas.draw_polygon(smooth_curve([(30, 66), (20, 58), (14, 46), (9, 45), (10, 41), (20, 43), (28, 52)]), "accent")
    canvas.draw_polygon(
        smooth_curve([(18, 74), (24, 54), (38, 45), (62, 45), (76, 54), (82, 74), (78, 84), (22, 84)]), "cloth", "round"
    )
    canvas.draw_ellipse((36, 41, 64, 50), "ground", "soft")
    canvas.draw_ellipse((46, 35, 54, 44), "accent")


def draw_table_lamp(canvas: Canvas) -> None:
    """A cone of a shade on a turned foot."""
    canvas.draw_shadow((28, 83, 74, 93))
    canvas.draw_polygon(
        smooth_curve([(47, 52), (45, 62), (40, 74), (43, 84), (57, 84), (60, 74), (55, 62), (53, 52)]),
        "ground",
        "round",
    )
    canvas.draw_box((34, 83, 66, 88), 2, "wood")
    canvas.draw_polygon([(37, 16), (63, 16), (78, 54), (22, 54)], "cloth", "round")
    canvas.draw_polygon([(22, 54), (78, 54), (77, 56.5), (23, 56.5)], "glow")


def draw_pendant_lamp(canvas: Canvas) -> None:
    """A dome on a cord."""
    canvas.draw_stroke([(50, -30), (50, 30)], 1.4, "ink", "flat")
    canvas.draw_box((46, 24, 54, 33), 2, "metal")
    canvas.draw_ellipse((39, 60, 61, 78), "glow")
    canvas.draw_polygon(
        smooth_curve([(15, 70), (20, 50), (33, 35), (50, 31), (67, 35), (80, 50), (85, 70)], closed=False),
        "cloth",
        "round",
    )
    canvas.draw_ellipse((15, 65.5, 85, 74.5), "accent", "flat")
    canvas.draw_ellipse((18, 66.5, 82, 73.5), "glow")


def draw_floor_lamp(canvas: Canvas) -> None:
    """A drum on a tall tripod."""
    canvas.draw_shadow((26, 88, 76, 97))
    for foot in (31, 50, 69):
        canvas.draw_stroke([(50, 44), (foot, 92)], 2.4, "wood")
    canvas.draw_box((24, 10, 76, 46), 2, "cloth", "round")
    canvas.draw_box((24, 44.5, 76, 47.5), 1, "glow")


def draw_armchair(canvas: Canvas) -> None:
    """A deep chair with rolled arms."""
    canvas.draw_shadow((14, 82, 88, 95))
    for x in (24, 72):
        canvas.draw_polygon([(x, 80), (x + 5, 80), (x + 4, 91), (x + 1, 91)], "wood")
    canvas.draw_polygon(
        smooth_curve([(26, 66), (25, 30), (33, 18), (50, 15), (67, 18), (75, 30), (74, 66)]), "cloth", "soft"
    )
    canvas.draw_box((24, 64, 76, 83), 4, "ground")
    canvas.draw_box((27, 54, 73, 69), 6, "cloth")
    canvas.draw_box((13, 46, 29, 83), 8, "cloth")
    canvas.draw_box((71, 46, 87, 83), 8, "cloth")


def draw_stool(canvas: Canvas) -> None:
    """A padded seat on three legs."""
    canvas.draw_shadow((20, 83, 82, 95))
    canvas.draw_stroke([(33, 52), (24, 91)], 4, "wood")
    canvas.draw_stroke([(67, 52), (76, 91)], 4, "wood")
    canvas.draw_stroke([(50, 56), (50, 93)], 4, "wood")
    canvas.draw_stroke([(29, 74), (71, 74)], 2.4, "wood")
    canvas.draw_box((20, 40, 80, 58), 8, "accent")
    canvas.draw_ellipse((20, 30, 80, 54))


def draw_dining_chair(canvas: Canvas) -> None:
    """A high back and four legs."""
    canvas.draw_shadow((24, 86, 80, 96))
    for top, bottom in (((32, 60), (27, 93)), ((68, 60), (73, 93)), ((38, 60), (36, 87)), ((62, 60), (64, 87))):
        canvas.draw_stroke([top, bottom], 3.4, "wood")
    canvas.draw_stroke([(34, 60), (31, 14)], 3.4, "wood")
    canvas.draw_stroke([(66, 60), (69, 14)], 3.4, "wood")
    canvas.draw_box((29, 12, 71, 44), 7)
    canvas.draw_polygon(smooth_curve([(30, 56), (70, 56), (76, 66), (72, 70), (28, 70), (24, 66)], steps=4))
