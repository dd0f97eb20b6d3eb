"""Subjects out of doors that people made: houses, lighthouses, sailboats, bicycles, balloons.

Each draws one thing into the box of a subject (see `brush.py`).
"""

from __future__ import annotations

import math

from services.cli.demo.pictures.brush import Brush
from services.cli.demo.pictures.pen import circle, d, group, rect, ring, shape, stroke


def house(brush: Brush) -> str:
    """A row of two or three narrow houses with gables."""
    widths = brush.choose(((28, 34, 28), (44, 38), (30, 28, 32)))
    x = -sum(widths) / 2
    parts = []
    for k, width in enumerate(widths):
        top = brush.between(-26, -2)
        parts.append(_front(brush, x=x, width=width, top=top, k=k))
        x += width
    return "".join(parts) + stroke("M-49 47H49", brush.inks.line, brush.width(2.2))


def _front(brush: Brush, *, x: float, width: float, top: float, k: int) -> str:
    wall, roof = brush.fill(k), brush.fill(k + 2)
    peak = top - width * brush.between(0.4, 0.6)
    chimney = rect(x + width * 0.68, peak + 2, 5, 14, brush.inks.dark)
    gable = shape(
        d("M", x - 1.5, top + 0.5, "L", x + width / 2, peak, "L", x + width + 1.5, top + 0.5, "Z"), roof
    )
    front = rect(x + 0.6, top, width - 1.2, 47 - top, wall)
    attic = circle(x + width / 2, top - width * 0.16, width * 0.09, brush.inks.light)
    door = shape(
        d("M", x + width / 2 - 5, 47, "V", 36, "A", 5, 5, "0 0 1", x + width / 2 + 5, 36, "V", 47, "Z"),
        brush.inks.dark,
    )
    lit = unlit = ""
    y = top + 6
    while y < 22:
        for share in (0.17, 0.59):
            pane = d("M", x + width * share, y, "h", width * 0.24, "v9h", -width * 0.24, "z")
            lit, unlit = (lit + pane, unlit) if brush.chance(0.75) else (lit, unlit + pane)
        y += 15
    panes = shape(lit, brush.inks.light) + (shape(unlit, brush.inks.dark) if unlit else "")
    return chimney + gable + front + attic + panes + door


def lighthouse(brush: Brush) -> str:
    """A striped tower on a rock, with its beam."""
    tower, stripe, beam = brush.inks.light, brush.fill(0), brush.fill(3)
    beams = group(shape("M0-31L-50-42V-20ZM0-31L50-42V-20Z", beam), opacity=0.6)
    body = shape("M-9-20H9L15 36H-15Z", tower)
    count = brush.choose((3, 4))
    stripes = []
    for k in range(count):
        y0, y1 = -20 + 56 * k / count, -20 + 56 * (k + 0.5) / count
        a, b = 9 + 6 * (y0 + 20) / 56, 9 + 6 * (y1 + 20) / 56
        stripes.append(d("M", -a, y0, "H", a, "L", b, y1, "H", -b, "Z"))
    gallery = rect(-13, -24, 26, 4.5, brush.inks.dark, 1.5)
    room = rect(-7, -37, 14, 13, brush.fill(3), 1) + stroke("M-2.5-37V-25M2.5-37V-25", brush.inks.dark, 1)
    roof = shape("M-11-36Q-8-46 0-48Q8-46 11-36Z", brush.fill(0))
    rock = shape("M-34 47Q-30 34-14 34Q0 29 14 34Q32 33 36 47Z", brush.fill(1))
    sea = stroke("M-48 46q6-5 12 0t12 0t12 0t12 0t12 0t12 0t12 0t12 0", brush.inks.line, brush.width(2))
    return beams + body + shape("".join(stripes), stripe) + gallery + room + roof + rock + sea


def sailboat(brush: Brush) -> str:
    """A boat with two sails on a calm sea."""
    hull, main, jib = brush.fill(2), brush.fill(0), brush.fill(1)
    lean, belly = brush.between(-6, 8), brush.between(4, 12)
    mast = stroke("M0 22V-47", brush.inks.line, brush.width(2.2))
    big = shape(d("M", 3, -44, "C", 18 + belly, -24, 30 + belly, 4, 34, 14, "Q", 18, 18, 3, 15, "Z"), main)
    small = shape(d("M", -3, -36, "C", -8 - belly, -16, -24, 2, -30, 14, "Q", -16, 18, -3, 15, "Z"), jib)
    seams = stroke("M4-16Q14-15 22-17M4 0Q18 2 30 0", brush.inks.light, 1.3)
    flag = shape("M1-48L14-44L1-40Z", brush.fill(3))
    boat = shape("M-36 22H38Q32 38 22 39H-22Q-32 38-36 22Z", hull) + stroke(
        "M-30 28H32", brush.inks.light, 1.6
    )
    sea = stroke(
        "M-50 41q6.2-5 12.5 0t12.5 0t12.5 0t12.5 0t12.5 0t12.5 0t12.5 0t12.5 0"
        "M-36 48q6-4 12 0t12 0t12 0t12 0t12 0t12 0",
        brush.fill(1),
        brush.width(2.6),
    )
    return group(group(mast + big + small + seams + flag + boat, turn=lean) + sea, flip=brush.chance(0.5))


def bicycle(brush: Brush) -> str:
    """A bicycle, with or without a basket."""
    frame, tyre, seat = brush.fill(0), brush.inks.line, brush.fill(1)
    wheels = ring(-27, 24, 20, tyre, brush.width(2.6)) + ring(27, 24, 20, tyre, brush.width(2.6))
    spokes = []
    for x in (-27, 27):
        start = brush.between(0, 60)
        for k in range(6):
            angle = math.radians(start + 60 * k)
            spokes.append(d("M", x, 24, "L", x + 19 * math.cos(angle), 24 + 19 * math.sin(angle)))
    thin = stroke("".join(spokes), tyre, 0.7)
    bars = stroke("M-27 24L-12-8L16-8L-2 24ZM-12-8L-2 24M27 24L14-18", frame, brush.width(3.4))
    handle = stroke("M14-18L12-24Q20-29 26-24", brush.inks.line, 2.8)
    saddle = stroke("M-12-8L-14-16", frame, 3) + shape("M-24-19Q-14-22-5-18Q-8-14-15-14Q-22-14-24-19Z", seat)
    pedal = circle(-2, 24, 5, brush.fill(3)) + stroke("M-2 24L4 33M1 34H8", tyre, 2)
    hubs = circle(-27, 24, 2.6, frame) + circle(27, 24, 2.6, frame)
    extra = ""
    if brush.chance(0.6):
        extra = shape("M19-20H42L38-4H23Z", brush.fill(2)) + stroke(
            "M21-15H40M22-10H39", brush.inks.light, 1.2
        )
        extra += (
            circle(25, -23, 4.5, brush.fill(3))
            + circle(33, -25, 5, brush.fill(1))
            + circle(39, -22, 3.5, brush.fill(0))
        )
    return group(thin + wheels + bars + hubs + pedal + saddle + handle + extra, flip=brush.chance(0.5), y=-2)


def balloon(brush: Brush) -> str:
    """A hot-air balloon between small clouds."""
    first, second = brush.fill(0), brush.fill(1)
    outline = "M0-48C24-48 36-31 34-13C32 4 16 16 9 25H-9C-16 16-32 4-34-13C-36-31-24-48 0-48Z"
    stripes = "M0-48C-30-40-24 4-6 25H-9C-16 16-32 4-34-13C-36-31-24-48 0-48Z"
    middle = "M0-48C13-36 11 6 3 25H-3C-11 6-13-36 0-48Z"
    right = "M0-48C30-40 24 4 6 25H9C16 16 32 4 34-13C36-31 24-48 0-48Z"
    skin = shape(outline, second) + shape(stripes, first) + shape(right, first) + shape(middle, brush.fill(2))
    scallops = stroke("M-33-10q5.5 6 11 0t11 0t11 0t11 0t11 0t11 0", brush.inks.light, brush.between(1.6, 3))
    ropes = stroke("M-8 25L-6 36M8 25L6 36", brush.inks.line, 1.3)
    basket = rect(-8, 36, 16, 11, brush.fill(3), 2.5) + stroke("M-8 40H8", brush.inks.dark, 1.2)
    cloud = "M0 0a6 6 0 0 1 9-6a8 8 0 0 1 14 2a5 5 0 0 1 3 8h-24a4 4 0 0 1-2-4z"
    clouds = group(shape(cloud, brush.inks.light), x=-50, y=brush.between(20, 34), opacity=0.85)
    clouds += group(shape(cloud, brush.inks.light), x=26, y=brush.between(2, 30), opacity=0.85, scale=0.8)
    return clouds + skin + scallops + ropes + basket
