"""Subjects of a room: teacups, lamps, books, chairs, vases.

Each draws one thing into the box of a subject (see `brush.py`).
"""

from __future__ import annotations

from services.cli.demo.pictures.brush import Brush
from services.cli.demo.pictures.pen import circle, d, ellipse, group, rect, shape, stroke


def teacup(brush: Brush) -> str:
    """A cup on a saucer, steaming."""
    cup, band, saucer = brush.fill(0), brush.fill(2), brush.fill(1)
    handle = stroke("M30-2C48-6 50 20 26 22", cup, 6)
    body = shape("M-34-12H34C34 18 22 38 6 38H-6C-22 38-34 18-34-12Z", cup)
    if brush.chance(0.5):
        marks = shape("M-33.5 0H33.5Q32.5 8 31 12H-31Q-32.5 8-33.5 0Z", band)
        marks += "".join(circle(x, 6, 2.4, brush.inks.light) for x in (-24, -12, 0, 12, 24))
    else:
        petal = ellipse(0, -6, 3.2, 5.4, band)
        marks = group("".join(group(petal, turn=a) for a in range(0, 360, 60)), y=11) + circle(
            0, 11, 3, brush.fill(3)
        )
    tea = ellipse(0, -12, 34, 6, brush.inks.light) + ellipse(0, -11, 29, 4, brush.inks.dark)
    plate = shape("M-46 38H46Q40 47 24 47H-24Q-40 47-46 38Z", saucer)
    sway = brush.between(-4, 4)
    steam = stroke(
        d(
            "M",
            -12,
            -22,
            "q",
            5 + sway,
            -6,
            0,
            -12,
            "t",
            0,
            -12,
            "M",
            2,
            -24,
            "q",
            5 + sway,
            -7,
            0,
            -13,
            "t",
            0,
            -12,
        )
        + d("M", 15, -22, "q", 5 + sway, -6, 0, -12, "t", 0, -12),
        brush.inks.line,
        brush.width(1.8),
    )
    return group(steam + handle + body + marks + tea + plate, flip=brush.chance(0.5))


def lamp(brush: Brush) -> str:
    """A lamp with its light: on a table, or hanging."""
    shade, foot, glow = brush.fill(0), brush.fill(1), brush.fill(3)
    if brush.chance(0.5):
        light = group(shape("M-26-12L-46 47H46L26-12Z", glow), opacity=0.4)
        cone = shape("M-14-46H14L30-12H-30Z", shade) + stroke("M-22-18H22", brush.inks.light, 1.6)
        stem = stroke("M0-10V38", brush.inks.line, brush.width(2.6))
        ball = circle(0, 14, brush.between(6, 11), foot) + circle(0, 29, 5, brush.fill(2))
        base = shape("M-19 46Q-18 38 0 38Q18 38 19 46Z", foot) + stroke(
            "M-46 47H46", brush.inks.line, brush.width(2)
        )
        return light + stem + ball + base + cone
    drop = brush.between(-6, 6)
    light = group(
        shape(d("M", -30, 8 + drop, "L", -46, 50, "H", 46, "L", 30, 8 + drop, "Z"), glow), opacity=0.45
    )
    cord = stroke(d("M", 0, -50, "V", -16 + drop), brush.inks.line, brush.width(2))
    dome = shape(d("M", -36, 10 + drop, "A", 36, 32, "0 0 1", 36, 10 + drop, "Z"), shade)
    trim = rect(-37, 7 + drop, 74, 5, foot, 2.5) + rect(-6, -27 + drop, 12, 9, foot, 2)
    bulb = shape(d("M", -11, 12 + drop, "A", 11, 11, "0 0 0", 11, 12 + drop, "Z"), brush.inks.light)
    shine = stroke(d("M", -24, 3 + drop, "Q", -20, -10 + drop, -9, -15 + drop), brush.inks.light, 2.2)
    return light + cord + bulb + dome + trim + shine


def books(brush: Brush) -> str:
    """A pile of books, with an apple or a plant on top."""
    covers, pages, bands, titles = [], "", "", ""
    y = 47.0
    for k in range(4):
        height, width = brush.between(11, 15), brush.between(58, 82)
        x = brush.between(-4, 4) - width / 2
        y -= height
        covers.append(rect(x, y, width, height - 0.8, brush.fill(k), 2))
        pages += d("M", x + width - 15, y + 2.2, "h", 15, "v", height - 5.2, "h", -15, "z")
        bands += d("M", x + 7, y, "h", 3.4, "v", height - 0.8, "h", -3.4, "z")
        titles += d("M", x + 17, y + height / 2, "h", width * 0.32)
    marks = (
        shape(pages, brush.inks.light) + shape(bands, brush.inks.dark) + stroke(titles, brush.inks.light, 1.6)
    )
    top = group(_plant(brush) if brush.chance(0.5) else _apple(brush), x=brush.between(-12, 12), y=y)
    return "".join(covers) + marks + top + stroke("M-47 47.5H47", brush.inks.line, brush.width(2))


def _apple(brush: Brush) -> str:
    body = shape("M0-20C10-26 20-20 17-9C15-2 8 1 0-1C-8 1-15-2-17-9C-20-20-10-26 0-20Z", brush.fill(0))
    return (
        body
        + stroke("M0-20Q0-26 4-29", brush.inks.line, 1.8)
        + shape("M2-24Q8-32 16-29Q12-21 2-24Z", brush.fill(2))
    )


def _plant(brush: Brush) -> str:
    pot = shape("M-11-14H11L8 0H-8Z", brush.fill(2))
    blades = "M0-14Q-16-20-17-34Q-4-30 0-14ZM0-14Q14-18 17-30Q4-30 0-14ZM0-14Q-6-30 0-42Q6-30 0-14Z"
    return shape(blades, brush.fill(0)) + pot


def chair(brush: Brush) -> str:
    """A chair of the nineteen-fifties, from the side or from the front."""
    seat, cushion, wood = brush.fill(0), brush.fill(1), brush.inks.line
    if brush.chance(0.5):
        legs = stroke("M-22 18L-30 47M22 18L30 47M-12 18L-15 44M12 18L15 44", wood, brush.width(2.8))
        back = shape("M-30-8C-32-36-22-44 0-44C22-44 32-36 30-8L24 12H-24Z", seat)
        arms = stroke("M-30-2C-40-2-36 14-26 16M30-2C40-2 36 14 26 16", seat, 7)
        pad = rect(-25, 6, 50, 13, cushion, 6)
        buttons = "".join(
            circle(x, y, 1.9, brush.inks.light)
            for x, y in ((-12, -26), (0, -26), (12, -26), (-6, -12), (6, -12))
        )
        return legs + back + buttons + arms + pad
    legs = stroke("M-20 14L-30 47M20 12L30 47", wood, brush.width(3.2)) + stroke("M-24 28L25 26", wood, 1.6)
    back = shape("M-34-44C-28-47-22-45-20-40L-10 4L-22 8Q-32-18-34-44Z", seat)
    sit = shape("M-26 4C-8-1 16 0 33 1Q39 8 33 14C14 17-10 18-24 15Z", cushion)
    pillow = group(
        rect(-11, -11, 22, 20, brush.fill(2), 5) + stroke("M-6-6L6 5M-6 5L6-6", brush.inks.light, 1.3),
        x=-6,
        y=-10,
        turn=14,
    )
    return group(legs + back + pillow + sit, flip=brush.chance(0.5))


def vase(brush: Brush) -> str:
    """A vase with a few dry stems."""
    clay, band = brush.fill(0), brush.fill(2)
    belly = brush.between(20, 29)
    stems, buds = [], []
    for k in range(brush.choose((3, 4, 5))):
        x = (-24, 20, -4, 34, -38)[k] + brush.between(-4, 4)
        y = (-38, -32, -46, -14, -16)[k] + brush.between(-3, 3)
        stems.append(d("M", 0, 2, "Q", x * 0.2, -16, x, y))
        buds.append(circle(x, y, brush.between(4.5, 7.5), brush.fill(1 + 2 * (k % 2))))
        buds.append(ellipse(x * 0.5 + 4, (y - 6) * 0.6, 4.6, 2.4, brush.fill(2)))
    body = shape(
        d("M", -8, -4, "C", -8, 8, -belly, 12, -belly, 27, "C", -belly, 40, -14, 47, -10, 47, "H", 10)
        + d("C", 14, 47, belly, 40, belly, 27, "C", belly, 12, 8, 8, 8, -4, "Z"),
        clay,
    )
    rim = rect(-11, -7, 22, 5, clay, 2.5)
    b = belly
    stripes = stroke(
        d("M", 3 - b, 21, "Q", 0, 27, b - 3, 21, "M", 2.4 - b, 30, "Q", 0, 36, b - 2.4, 30),
        band,
        brush.between(2, 3.6),
    )
    return stroke("".join(stems), brush.inks.line, brush.width(1.6)) + "".join(buds) + rim + body + stripes
