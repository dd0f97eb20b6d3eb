"""Subjects that grow: flowers, leaves, cacti, mushrooms, trees, fruit.

Each draws one plant into the box of a subject (see `brush.py`); stems use the line ink, so that they show on
every ground.
"""

from __future__ import annotations

import math

from services.cli.demo.pictures.brush import Brush
from services.cli.demo.pictures.pen import circle, d, ellipse, group, rect, shape, stroke


def flower(brush: Brush) -> str:
    """One to three blossoms on stems: daisies or tulips."""
    count = brush.choose((1, 2, 3, 3))
    spread = {1: (0.0,), 2: (-14.0, 14.0), 3: (-22.0, 22.0, 0.0)}[count]
    heights = {1: (-16.0,), 2: (-22.0, -8.0), 3: (-6.0, -12.0, -27.0)}[count]
    daisy = brush.chance(0.5)
    parts = []
    for k, (x, y) in enumerate(zip(spread, heights, strict=True)):
        lean = brush.between(-3, 3)
        parts.append(
            stroke(d("M", x * 0.15, 47, "Q", x * 0.4, 20, x + lean, y), brush.inks.line, brush.width(2))
        )
        parts.append(_daisy(brush, x=x + lean, y=y, k=k) if daisy else _tulip(brush, x=x + lean, y=y, k=k))
    leaf = "M0 45C-16 40-26 28-27 14C-14 18-4 28 0 45ZM0 45C14 42 24 32 26 20C14 22 4 32 0 45Z"
    return "".join(parts[:1]) + shape(leaf, brush.fill(2)) + "".join(parts[1:])


def _daisy(brush: Brush, *, x: float, y: float, k: int) -> str:
    petals, reach = brush.choose((7, 8, 10)), 16.0 if k == 0 else 14.0
    # Petals are short thick lines with round ends, all in one path: a tenth of the bytes of ten ellipses.
    angles = [math.tau * i / petals for i in range(petals)]
    spokes = "".join(
        d(
            "M",
            reach * 0.5 * math.cos(a),
            reach * 0.5 * math.sin(a),
            "L",
            reach * 0.85 * math.cos(a),
            reach * 0.85 * math.sin(a),
        )
        for a in angles
    )
    around = stroke(spokes, brush.fill(k), reach * 4 / petals * 0.92)
    centre = circle(0, 0, reach * 0.34, brush.fill(3)) + circle(0, 0, reach * 0.14, brush.inks.dark)
    return group(around + centre, x=x, y=y, turn=brush.between(0, 30))


def _tulip(brush: Brush, *, x: float, y: float, k: int) -> str:
    cup = shape("M-13-12C-14 4-8 10 0 10C8 10 14 4 13-12L6-4L0-16L-6-4Z", brush.fill(k))
    heart = shape("M0-16C-7-4-6 6 0 10C6 6 7-4 0-16Z", brush.fill(k + 1))
    return group(cup + heart, x=x, y=y - 4, turn=x * 0.5)


def leaf(brush: Brush) -> str:
    """A branch with leaves in pairs, or one large leaf with cut edges."""
    if brush.chance(0.4):
        return _cut_leaf(brush)
    ink, other = brush.fill(0), brush.fill(1)
    bend = brush.between(-14, 14)
    parts = [stroke(d("M", 0, 47, "Q", bend, 5, bend * 0.4, -38), brush.inks.line, brush.width(1.8))]
    width = brush.between(7, 11)
    blade = d("M0 0C", 8, -width, 24, -width, 32, -2, "C", 24, width * 0.7, 8, width * 0.6, 0, 0, "Z")
    vein = stroke("M4-.5L24-2", brush.inks.light, 0.9)
    for k in range(4):
        y = 32 - 62 * k / 4
        along = (47 - y) / 85
        x = 2 * (1 - along) * along * bend + along * along * bend * 0.4
        size = 1.05 - 0.42 * k / 4
        parts.append(group(shape(blade, ink) + vein, x=x, y=y, turn=-34, scale=size))
        parts.append(group(shape(blade, other) + vein, x=x, y=y - 4, turn=34, scale=size, flip=True))
    tip = shape("M0 0C-6-6-6-16 0-22C6-16 6-6 0 0Z", brush.fill(2))
    return "".join(parts) + group(tip, x=bend * 0.4, y=-30)


def _cut_leaf(brush: Brush) -> str:
    ink = brush.fill(0)
    side = "M0-42C16-42 36-26 40-6L18 0L41 2C40 12 37 18 33 23L15 11L28 28C22 33 14 36 6 36L0 30Z"
    blade = shape(side, ink) + group(shape(side, brush.fill(1)), flip=True)
    ribs = stroke("M0-36V48M0-16L20-25M0-16L-20-25M0 2L15 6M0 2L-15 6", brush.inks.light, 1.4)
    stem = stroke("M0 30Q1 40-4 48", brush.inks.line, brush.width(2.4))
    holes = ellipse(12, -14, 2, 5, brush.inks.halo) + ellipse(-12, -14, 2, 5, brush.inks.halo)
    return group(stem + blade + ribs + holes, turn=brush.between(-22, 22))


def cactus(brush: Brush) -> str:
    """A cactus in a pot: with arms, or a ball."""
    green, pot, bloom = brush.fill(0), brush.fill(2), brush.fill(3)
    if brush.chance(0.6):
        left, right = brush.between(-12, 2), brush.between(-16, -2)
        plant = stroke("M0 22V-26", green, 19)
        plant += stroke(d("M", -3, 10, "H", -15, "Q", -24, 10, -24, 2, "V", left - 6), green, 10)
        plant += stroke(d("M", 3, 2, "H", 15, "Q", 24, 2, 24, -6, "V", right - 10), green, 10)
        ribs = stroke("M-4-26V20M4-26V20", brush.inks.light, 1.2)
        top = -36.0
        spots = circle(-24, left - 12, 3.4, bloom)
    else:
        plant = ellipse(0, 0, 25, 25, green)
        ribs = stroke(
            "M0-24V22M-9-22Q-17 0-9 22M9-22Q17 0 9 22M-17-15Q-24 0-17 16M17-15Q24 0 17 16",
            brush.inks.light,
            1.3,
        )
        top, spots = -26.0, ""
    petal = ellipse(0, -5, 2.8, 5.5, bloom)
    crown = group("".join(group(petal, turn=angle) for angle in (-60, -30, 0, 30, 60)), y=top)
    vessel = rect(-21, 17, 42, 8, pot, 2) + shape("M-18 25H18L13 46Q12.5 47 11 47H-11Q-12.5 47-13 46Z", pot)
    band = shape("M-16.5 31H16.5L15 38H-15Z", brush.fill(1))
    return plant + ribs + spots + crown + vessel + band


def mushroom(brush: Brush) -> str:
    """A tall mushroom and a small one, in grass."""
    cap, stem, gills = brush.fill(0), brush.inks.light, brush.fill(3)
    return (
        group(_one_mushroom(brush, cap=brush.fill(1), stem=stem, gills=gills), x=24, y=22, scale=0.52, turn=8)
        + group(_one_mushroom(brush, cap=cap, stem=stem, gills=gills), x=-6, turn=brush.between(-5, 3))
        + stroke(
            "M-40 47Q-38 38-42 32M-35 47Q-34 40-30 35M36 47Q36 40 40 36M42 47Q43 43 46 41", brush.fill(2), 2.6
        )
        + stroke("M-46 47H46", brush.inks.line, brush.width(2))
    )


def _one_mushroom(brush: Brush, *, cap: str, stem: str, gills: str) -> str:
    tall = brush.between(-46, -36)
    foot = shape("M-8-8C-6 12-10 34-13 47H13C10 34 6 12 8-8Z", stem) + stroke("M-7 14Q0 19 7 14", gills, 3)
    under = ellipse(0, -8, 34, 7, gills)
    dome = shape(
        d("M", -37, -7, "C", -36, tall, -12, tall - 4, 0, tall - 4, "C", 12, tall - 4, 36, tall, 37, -7)
        + "Q20-2 0-2Q-20-2-37-7Z",
        cap,
    )
    dots = "".join(
        circle(x + brush.between(-2, 2), y + brush.between(-2, 2), r, brush.inks.light)
        for x, y, r in ((-20, -17, 4.2), (-3, -30, 5.2), (8, -14, 3.4), (20, -24, 3.8), (27, -11, 2.4))
    )
    return foot + under + dome + dots


def tree(brush: Brush) -> str:
    """Two or three trees of different kinds on one ground."""
    kinds = [brush.choose((_round_tree, _pine, _poplar)) for _ in range(3)]
    small = group(kinds[0](brush, 1), x=-27, y=16, scale=0.66)
    other = group(kinds[1](brush, 2), x=28, y=20, scale=0.58)
    return small + other + kinds[2](brush, 0) + stroke("M-48 47H48", brush.inks.line, brush.width(2.2))


def _round_tree(brush: Brush, k: int) -> str:
    crown = circle(0, -16, 27, brush.fill(k)) + shape("M0-43A27 27 0 0 1 0 11Z", brush.fill(k + 1))
    return (
        stroke("M0 47V-6", brush.inks.line, 3.4)
        + crown
        + stroke("M0 30V-18M0 2L10-9M0-4L-9-14", brush.inks.dark, 2)
    )


def _pine(brush: Brush, k: int) -> str:
    tiers = ((-46, 14, -14), (-30, 20, 8), (-12, 26, 32))
    layers = [
        shape(d("M", 0, top, "L", half, low, "Q", 0, low + 5, -half, low, "Z"), brush.fill(k + (low == 8)))
        for top, half, low in tiers
    ]
    return stroke("M0 47V20", brush.inks.line, 5) + "".join(reversed(layers))


def _poplar(brush: Brush, k: int) -> str:
    blade = shape("M0-48C17-30 19 14 0 26C-19 14-17-30 0-48Z", brush.fill(k))
    return (
        stroke("M0 47V10", brush.inks.line, 3.4)
        + blade
        + stroke("M0 24V-34M0-4L8-12M0 8L-8 0M0-16L-6-22", brush.inks.light, 1.4)
    )


def fruit(brush: Brush) -> str:
    """A pear, an orange cut in half, a pair of cherries or a lemon."""
    kind = brush.choose((_pear, _orange, _cherries, _lemon))
    return group(kind(brush), turn=brush.between(-10, 10))


def _leaf_and_stem(brush: Brush, *, y: float) -> str:
    stem = stroke(d("M", 0, y, "Q", 0, y - 10, 5, y - 14), brush.inks.line, 2.6)
    blade = shape("M0 0C6-12 18-14 28-9C22 1 10 5 0 0Z", brush.fill(2))
    return stem + group(blade, x=2, y=y - 5)


def _pear(brush: Brush) -> str:
    body = shape(
        "M0-28C13-28 13-12 19-2C28 8 33 18 31 28C28 43 14 47 0 47"
        "C-14 47-28 43-31 28C-33 18-28 8-19-2C-13-12-13-28 0-28Z",
        brush.fill(0),
    )
    side = shape("M0-28C13-28 13-12 19-2C28 8 33 18 31 28C28 43 14 47 0 47C16 36 14 4 0-28Z", brush.fill(1))
    freckles = "".join(
        circle(brush.between(-20, -3), brush.between(8, 36), 1.1, brush.inks.dark) for _ in range(5)
    )
    return body + side + freckles + _leaf_and_stem(brush, y=-26)


def _orange(brush: Brush) -> str:
    skin = circle(0, 4, 40, brush.fill(0)) + circle(0, 4, 35, brush.inks.light)
    wedge = []
    for k in range(8):
        a, b = math.radians(45 * k + 5), math.radians(45 * k + 40)
        wedge.append(
            d(
                "M",
                5 * math.sin((a + b) / 2),
                4 - 5 * math.cos((a + b) / 2),
                "L",
                31 * math.sin(a),
                4 - 31 * math.cos(a),
                "A",
                31,
                31,
                "0 0 1",
                31 * math.sin(b),
                4 - 31 * math.cos(b),
                "Z",
            )
        )
    flesh = brush.fill(1)
    round_edge = f'stroke="{flesh}" stroke-width="2.5" stroke-linejoin="round"'
    segments = f'<path d="{"".join(wedge)}" fill="{flesh}" {round_edge}/>'
    return skin + segments + group(_leaf_and_stem(brush, y=-34))


def _cherries(brush: Brush) -> str:
    stems = stroke("M-20 20C-14-8-2-26 12-38M22 26C20 2 14-22 12-38", brush.inks.line, brush.width(2.4))
    blade = shape("M12-38C22-50 40-48 48-36C38-26 22-26 12-38Z", brush.fill(2))
    pair = circle(-20, 26, 19, brush.fill(0)) + circle(22, 29, 17, brush.fill(1))
    shine = stroke("M-31 22Q-29 14-22 13M12 25Q14 19 20 18", brush.inks.light, 2.4)
    return stems + blade + stroke("M16-37L38-37", brush.inks.light, 1.2) + pair + shine


def _lemon(brush: Brush) -> str:
    whole = shape(
        "M-44 8C-38-2-34-22-6-24C22-26 34-8 38 2Q44 4 43 10Q42 15 36 15C28 32 14 38-6 36C-28 34-36 20-44 8Z",
        brush.fill(0),
    )
    shade = shape("M36 15C28 32 14 38-6 36C-28 34-36 20-44 8C-20 26 14 30 36 15Z", brush.fill(1))
    dots = "".join(
        circle(brush.between(-20, 20), brush.between(-14, 12), 1.1, brush.inks.dark) for _ in range(6)
    )
    return group(whole + shade + dots, turn=-12) + group(_leaf_and_stem(brush, y=-20))
