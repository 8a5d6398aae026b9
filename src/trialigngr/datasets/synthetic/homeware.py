"""How mugs, teapots, lamps and chairs are drawn, one function a noun, on the 0..100 canvas of the easel."""

from __future__ import annotations

from trialigngr.datasets.synthetic.easel import Easel, curve, mirrored


def mug(e: Easel) -> None:
    """A straight mug with a handle."""
    e.shadow((22, 78, 80, 90))
    e.stroke(curve([(62, 40), (80, 40), (83, 55), (74, 68), (61, 70)], closed=False), 6, "ground")
    e.polygon(mirrored([(26, 29), (26, 78), (29, 83), (37, 85.5)], 45), "cloth", "round")
    e.ellipse((26, 23, 64, 35), "pale", "flat")
    e.ellipse((28.5, 25, 61.5, 34), "ink", "flat")


def cup(e: Easel) -> None:
    """A bowl of a cup on its saucer."""
    e.shadow((14, 77, 88, 91))
    e.ellipse((15, 73, 85, 89), "ground", "soft")
    e.ellipse((27, 76, 73, 86), "motif", "soft")
    e.stroke(curve([(68, 47), (82, 44), (84, 56), (66, 65)], closed=False), 5, "accent")
    e.polygon(curve([(24, 42), (27, 62), (38, 78), (48, 81), (58, 78), (69, 62), (72, 42)]), "cloth", "round")
    e.ellipse((24, 35, 72, 48), "pale", "flat")
    e.ellipse((27, 37, 69, 46.5), "wood", "flat")


def tumbler(e: Easel) -> None:
    """A tapered beaker without a handle."""
    e.shadow((27, 80, 76, 91))
    e.polygon(mirrored([(27, 24), (35, 83), (40, 86)]), "cloth", "round")
    e.ellipse((27, 18, 73, 30), "pale", "flat")
    e.ellipse((29.5, 20, 70.5, 29), "ink", "flat")


def teapot(e: Easel) -> None:
    """A round pot with spout and handle."""
    e.shadow((18, 78, 84, 91))
    e.stroke(curve([(66, 44), (84, 38), (89, 54), (80, 68), (66, 70)], closed=False), 5.5, "accent")
    e.polygon(curve([(34, 60), (22, 52), (16, 36), (10, 33), (12, 30), (22, 34), (28, 44), (38, 48)]), "ground")
    e.polygon(
        curve([(25, 60), (30, 43), (44, 36), (58, 36), (71, 43), (76, 60), (69, 78), (58, 84), (43, 84), (31, 78)]),
        "cloth",
        "round",
    )
    e.polygon(curve([(38, 38), (42, 31), (50, 29), (59, 31), (63, 38), (51, 41)]), "ground")
    e.ellipse((46.5, 22, 54.5, 30), "accent")


def coffee_pot(e: Easel) -> None:
    """A tall pot that narrows to the top."""
    e.shadow((25, 82, 80, 92))
    e.stroke(curve([(62, 34), (80, 34), (82, 52), (70, 72)], closed=False), 5, "wood")
    e.polygon([(38, 30), (24, 25), (30, 38), (36, 46)], "ground")
    e.polygon(mirrored([(36, 27), (34, 50), (28, 84), (32, 87)]), "cloth", "round")
    e.polygon(curve([(35, 28), (42, 20), (50, 18), (58, 20), (65, 28), (50, 30)]), "accent")
    e.ellipse((46.5, 11.5, 53.5, 19))


def kettle(e: Easel) -> None:
    """A low kettle with a handle over the top."""
    e.shadow((15, 79, 86, 91))
    e.stroke(curve([(29, 48), (28, 26), (40, 14), (60, 14), (72, 26), (71, 48)], closed=False), 4.5, "wood")
    e.polygon(curve([(30, 66), (20, 58), (14, 46), (9, 45), (10, 41), (20, 43), (28, 52)]), "accent")
    e.polygon(curve([(18, 74), (24, 54), (38, 45), (62, 45), (76, 54), (82, 74), (78, 84), (22, 84)]), "cloth", "round")
    e.ellipse((36, 41, 64, 50), "ground", "soft")
    e.ellipse((46, 35, 54, 44), "accent")


def table_lamp(e: Easel) -> None:
    """A cone of a shade on a turned foot."""
    e.shadow((28, 83, 74, 93))
    e.polygon(
        curve([(47, 52), (45, 62), (40, 74), (43, 84), (57, 84), (60, 74), (55, 62), (53, 52)]), "ground", "round"
    )
    e.box((34, 83, 66, 88), 2, "wood")
    e.polygon([(37, 16), (63, 16), (78, 54), (22, 54)], "cloth", "round")
    e.polygon([(22, 54), (78, 54), (77, 56.5), (23, 56.5)], "glow")


def pendant_lamp(e: Easel) -> None:
    """A dome on a cord."""
    e.stroke([(50, -30), (50, 30)], 1.4, "ink", "flat")
    e.box((46, 24, 54, 33), 2, "metal")
    e.ellipse((39, 60, 61, 78), "glow")
    e.polygon(
        curve([(15, 70), (20, 50), (33, 35), (50, 31), (67, 35), (80, 50), (85, 70)], closed=False), "cloth", "round"
    )
    e.ellipse((15, 65.5, 85, 74.5), "accent", "flat")
    e.ellipse((18, 66.5, 82, 73.5), "glow")


def floor_lamp(e: Easel) -> None:
    """A drum on a tall tripod."""
    e.shadow((26, 88, 76, 97))
    for foot in (31, 50, 69):
        e.stroke([(50, 44), (foot, 92)], 2.4, "wood")
    e.box((24, 10, 76, 46), 2, "cloth", "round")
    e.box((24, 44.5, 76, 47.5), 1, "glow")


def armchair(e: Easel) -> None:
    """A deep chair with rolled arms."""
    e.shadow((14, 82, 88, 95))
    for x in (24, 72):
        e.polygon([(x, 80), (x + 5, 80), (x + 4, 91), (x + 1, 91)], "wood")
    e.polygon(curve([(26, 66), (25, 30), (33, 18), (50, 15), (67, 18), (75, 30), (74, 66)]), "cloth", "soft")
    e.box((24, 64, 76, 83), 4, "ground")
    e.box((27, 54, 73, 69), 6, "cloth")
    e.box((13, 46, 29, 83), 8, "cloth")
    e.box((71, 46, 87, 83), 8, "cloth")


def stool(e: Easel) -> None:
    """A padded seat on three legs."""
    e.shadow((20, 83, 82, 95))
    e.stroke([(33, 52), (24, 91)], 4, "wood")
    e.stroke([(67, 52), (76, 91)], 4, "wood")
    e.stroke([(50, 56), (50, 93)], 4, "wood")
    e.stroke([(29, 74), (71, 74)], 2.4, "wood")
    e.box((20, 40, 80, 58), 8, "accent")
    e.ellipse((20, 30, 80, 54))


def dining_chair(e: Easel) -> None:
    """A high back and four legs."""
    e.shadow((24, 86, 80, 96))
    for top, bottom in (((32, 60), (27, 93)), ((68, 60), (73, 93)), ((38, 60), (36, 87)), ((62, 60), (64, 87))):
        e.stroke([top, bottom], 3.4, "wood")
    e.stroke([(34, 60), (31, 14)], 3.4, "wood")
    e.stroke([(66, 60), (69, 14)], 3.4, "wood")
    e.box((29, 12, 71, 44), 7)
    e.polygon(curve([(30, 56), (70, 56), (76, 66), (72, 70), (28, 70), (24, 66)], steps=4))
