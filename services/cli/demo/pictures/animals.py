"""Subjects that live: cats, birds, fish, butterflies, whales.

Each draws one animal into the box of a subject (see `brush.py`). Flat shapes with a few details: at the size
of a card, a silhouette is what a person recognises.
"""

from __future__ import annotations

from services.cli.demo.pictures.brush import Brush
from services.cli.demo.pictures.pen import circle, d, ellipse, group, shape, stroke


def cat(brush: Brush) -> str:
    """A cat that sits and looks at you; tail, markings and tilt vary."""
    fur, mark = brush.fill(0), brush.fill(2)
    sleepy, tilt = brush.chance(0.35), brush.between(-7, 7)
    reach = brush.between(-6, 8)
    tail = stroke(d("M", 14, 40, "C", 46, 46, 48, 16 + reach, 36, 4 + reach), fur, 8)
    tip = stroke(d("M", 40.5, 14 + reach, "Q", 40, 8 + reach, 36, 4 + reach), mark, 8)
    body = shape("M-25 45C-27 14-17-8 0-8C17-8 27 14 25 45Q25 47 22 47H-22Q-25 47-25 45Z", fur)
    bib = shape("M-10 47C-14 24-8 6 0 6C8 6 14 24 10 47Z", mark)
    feet = ellipse(-8, 46, 8, 4.5, fur) + ellipse(8, 46, 8, 4.5, fur)
    ears = shape("M-19-22L-18-45Q-17-47-15-46L-1-36ZM19-22L18-45Q17-47 15-46L1-36Z", fur)
    inner = shape("M-15-32L-15-40L-8-36ZM15-32L15-40L8-36Z", mark)
    head = shape("M-20-22C-20-35-10-38 0-38C10-38 20-35 20-22C20-9 10-5 0-5C-10-5-20-9-20-22Z", fur)
    if sleepy:
        eyes = stroke("M-12-23Q-8.5-19-5-23M5-23Q8.5-19 12-23", brush.inks.dark, 1.8)
    else:
        eyes = circle(-8, -23, 4, brush.inks.light) + circle(8, -23, 4, brush.inks.light)
        look = brush.between(-1.2, 1.2)
        eyes += ellipse(-8 + look, -23, 1.7, 3.2, brush.inks.dark)
        eyes += ellipse(8 + look, -23, 1.7, 3.2, brush.inks.dark)
    nose = shape("M-2.4-16H2.4L0-13Z", brush.inks.dark)
    mouth = stroke("M0-13Q-1-10.5-4-11M0-13Q1-10.5 4-11", brush.inks.dark, 1.1)
    whiskers = stroke("M-12-15L-26-18M-12-13L-26-12M12-15L26-18M12-13L26-12", brush.inks.line, 0.9)
    stripes = stroke("M-4-37V-31M0-37.5V-30M4-37V-31", mark, 2.2) if brush.chance(0.6) else ""
    face = group(ears + inner + head + stripes + eyes + whiskers + nose + mouth, turn=tilt)
    return group(tail + tip + body + bib + feet + face, flip=brush.chance(0.5))


def bird(brush: Brush) -> str:
    """A small round bird on a twig."""
    body_ink, wing_ink, breast = brush.fill(0), brush.fill(1), brush.fill(2)
    lift = brush.between(-8, 10)
    twig = stroke(
        "M-46 37Q-10 31 46 35M22 34Q32 26 38 26M-28 35.5Q-34 28-40 28", brush.inks.line, brush.width(2.2)
    )
    leaves = shape("M38 26Q44 16 49 18Q48 27 38 26ZM-40 28Q-46 18-50 20Q-50 29-40 28Z", brush.fill(3))
    legs = stroke("M-4 22L-5 34M5 22L6 34", brush.inks.line, 1.8)
    tail = group(shape("M-20 2L-47 12Q-49 17-44 18L-18 15Z", wing_ink), turn=lift * 0.6)
    body = shape("M-26 8C-26-14-8-24 8-30C26-36 36-22 32-8C28 16 12 25-4 25C-18 25-26 18-26 8Z", body_ink)
    belly = shape("M31-8C28 16 12 25-4 25C4 16 6 2 20-8Z", breast)
    wing = group(shape("M10-4C-4-14-26-4-32 14C-16 20 4 16 10-4Z", wing_ink), turn=lift)
    feather = group(stroke("M-24 11Q-10 10 0 1M-17 14Q-8 13 2 6", brush.inks.light, 1.3), turn=lift)
    beak = shape("M32-21L45-16L31-12Z", brush.fill(3))
    eye = circle(22, -20, 3.6, brush.inks.light) + circle(22.6, -20, 2, brush.inks.dark)
    crest = stroke("M12-31Q12-40 6-43M15-32Q18-39 14-45", body_ink, 2.4) if brush.chance(0.4) else ""
    parts = twig + leaves + legs + tail + crest + body + belly + wing + feather + beak + eye
    return group(parts, flip=brush.chance(0.5), scale=0.98)


def fish(brush: Brush) -> str:
    """A fish with rows of scales or with bands."""
    body_ink, fin, third = brush.fill(0), brush.fill(1), brush.fill(2)
    deep = brush.between(20, 28)
    tail = shape("M-24 0C-34-6-42-20-48-20C-46-10-46 10-48 20C-42 20-34 6-24 0Z", fin)
    top = shape(d("M", -8, -deep + 8, "C", -4, -deep - 12, 14, -deep - 10, 18, -deep + 9, "Z"), fin)
    low = shape(d("M", -6, deep - 8, "C", -6, deep + 8, 6, deep + 6, 10, deep - 8, "Z"), fin)
    body = shape(
        d(
            "M",
            -30,
            0,
            "C",
            -16,
            -deep - 4,
            22,
            -deep - 8,
            46,
            1,
            "C",
            22,
            deep + 8,
            -16,
            deep + 4,
            -30,
            0,
            "Z",
        ),
        body_ink,
    )
    if brush.chance(0.5):
        rows = []
        for column, height in ((-14, 6), (-5, 11), (4, 13)):
            for k in range(-1, 2):
                y = k * height
                rows.append(d("M", column, y - 5, "Q", column + 8, y, column, y + 5))
        marks = stroke("".join(rows), third, 2.2)
    else:
        bands = "M-12-13Q-4 0-12 13M-1-18Q8 0-1 18M11-18Q20 0 11 18"
        marks = stroke(bands, third, brush.between(3.5, 5.5))
    gill = stroke("M25-10Q18 0 25 10", brush.inks.dark, 1.4)
    eye = circle(32, -4, 4, brush.inks.light) + circle(33, -4, 2.1, brush.inks.dark)
    bubbles = "".join(
        circle(brush.between(36, 48), y, r, brush.fill(3)) for y, r in ((-22, 3), (-32, 4.2), (-43, 2.4))
    )
    return group(tail + top + low + body + marks + gill + eye + bubbles, flip=brush.chance(0.5))


def butterfly(brush: Brush) -> str:
    """Open wings, seen from above, the same on both sides."""
    upper, lower, spot = brush.fill(0), brush.fill(1), brush.fill(2)
    span, drop = brush.between(40, 47), brush.between(30, 40)
    wing = shape(
        d("M", 2, -4, "C", 8, -34, span - 12, -46, span, -36, "C", span + 5, -20, 30, 2, 2, 4, "Z"), upper
    )
    hind = shape(
        d("M", 2, 2, "C", 22, 0, span - 6, 8, 34, 24, "C", 30, drop, 16, drop + 6, 10, 28, "Z"), lower
    )
    dots = circle(span - 12, -27, 6.5, spot) + circle(span - 12, -27, 2.8, brush.inks.dark)
    dots += circle(24, 20, 4.5, brush.fill(3)) + circle(18, -14, 3, brush.inks.light)
    veins = stroke(
        d("M", 5, -4, "Q", 16, -20, span - 19, -31, "M", 6, 4, "Q", 16, 8, 22, 14), brush.inks.light, 1.3
    )
    half = hind + wing + veins + dots
    body = stroke("M0-12V24", brush.inks.line, 4.6) + circle(0, -15, 3.6, brush.inks.line)
    feelers = stroke("M-1-17Q-4-30-13-35M1-17Q4-30 13-35", brush.inks.line, 1.3)
    return group(half + group(half, flip=True) + body + feelers, turn=brush.between(-14, 14))


def whale(brush: Brush) -> str:
    """A whale between two lines of sea."""
    back, belly, spray = brush.fill(0), brush.fill(2), brush.fill(1)
    fluke = brush.between(-8, 4)
    tail = shape(
        d(
            "M",
            -20,
            16,
            "C",
            -34,
            12,
            -38,
            0,
            -38,
            -8 + fluke,
            "C",
            -46,
            -10 + fluke,
            -50,
            -18 + fluke,
            -49,
            -24 + fluke,
        )
        + d("C", -42, -25 + fluke, -37, -22 + fluke, -34, -16 + fluke)
        + d("C", -31, -22 + fluke, -25, -25 + fluke, -18, -23 + fluke)
        + d("C", -18, -16 + fluke, -23, -9 + fluke, -31, -8 + fluke, "C", -30, 2, -20, 4, -12, 4, "Z"),
        back,
    )
    body = shape("M-28 10C-14 2-8-18 16-18C38-18 47-2 47 10C47 26 30 31 6 31C-14 31-26 24-28 10Z", back)
    under = shape("M47 10C47 26 30 31 6 31C-2 31-9 30-15 27C6 26 22 12 47 10Z", belly)
    grooves = stroke("M42 16Q26 20 12 28M44 20.5Q34 23 25 29", back, 1.4)
    eye = circle(30, 3, 2.6, brush.inks.light) + circle(30.4, 3, 1.4, brush.inks.dark)
    fin = shape("M8 20C4 30-4 38-12 38C-12 30-6 22 0 18Z", back)
    spout = stroke("M14-22C14-34 6-38 0-36M18-22C18-36 28-40 34-35M16-24V-41", spray, brush.width(2.6))
    sea = stroke("M-48 44q6-5 12 0t12 0t12 0t12 0t12 0t12 0t12 0t12 0", brush.fill(1), brush.width(2.4))
    return group(spout + tail + body + under + grooves + fin + eye + sea, flip=brush.chance(0.5))
