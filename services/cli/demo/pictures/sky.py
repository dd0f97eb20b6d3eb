"""What is overhead: planets (a subject); moons, rain and stars (scenes).

A scene fills the rectangle that it is given and leaves clipping to `layout.py`.
"""

from __future__ import annotations

import math

from services.cli.demo.pictures.brush import Brush
from services.cli.demo.pictures.inks import mix
from services.cli.demo.pictures.pen import circle, d, dots, ellipse, group, rect, ring, shape, stroke


def planet(brush: Brush) -> str:
    """A planet with bands or craters, a ring, and a moon."""
    body, band, rim = brush.fill(0), brush.fill(1), brush.fill(2)
    r = brush.between(24, 28)
    tilt = brush.between(-28, -10)
    disc = circle(0, 0, r, body)
    if brush.chance(0.6):
        lines = []
        for y in (-0.55, -0.15, 0.3, 0.62):
            half = r * math.sqrt(1 - y * y) - 1.6
            lines.append(d("M", -half, y * r, "H", half * brush.between(0.2, 1)))
        marks = stroke("".join(lines), band, brush.between(2.4, 4))
    else:
        marks = (
            circle(-r * 0.35, -r * 0.3, 5, band)
            + circle(r * 0.4, r * 0.25, 3.6, band)
            + circle(-2, r * 0.55, 2.6, band)
        )
    wide, flat = r * 1.72, brush.between(6, 9)
    front = stroke(d("M", -wide, 0, "A", wide, flat, "0 0 0", wide, 0), rim, brush.width(3.6))
    back = stroke(d("M", -wide, 0, "A", wide, flat, "0 0 1", wide, 0), rim, brush.width(3.6))
    moon = circle(brush.between(24, 36), brush.between(-40, -32), brush.between(4, 7), brush.fill(3))
    stars = "".join(
        _spark(x + brush.between(-4, 4), y + brush.between(-4, 4), brush.between(2, 4.4), brush.inks.line)
        for x, y in ((-38, -34), (40, 34), (-34, 36), (4, -43))
    )
    return stars + moon + group(back + disc + marks + front, turn=tilt)


def _spark(x: float, y: float, r: float, ink: str) -> str:
    s = r * 0.22
    return shape(
        d(
            "M",
            x,
            y - r,
            "L",
            x + s,
            y - s,
            x + r,
            y,
            x + s,
            y + s,
            x,
            y + r,
            x - s,
            y + s,
            x - r,
            y,
            x - s,
            y - s,
            "Z",
        ),
        ink,
    )


def moons(brush: Brush, w: float, h: float) -> str:
    """The phases of the moon: an arc or a column of discs over low hills."""
    sky = brush.inks.ground
    big = min(w, h) * 0.25
    cx, cy = w / 2, h * 0.4
    glow = circle(cx, cy, big * 1.5, mix(sky, brush.fill(0), 0.16)) + circle(
        cx, cy, big * 1.24, mix(sky, brush.fill(0), 0.3)
    )
    moon = circle(cx, cy, big, brush.fill(0))
    craters = "".join(
        circle(cx + big * x, cy + big * y, big * r, mix(brush.fill(0), brush.inks.dark, 0.16))
        for x, y, r in (
            (-0.36, -0.3, 0.2),
            (0.3, -0.46, 0.1),
            (0.34, 0.2, 0.25),
            (-0.22, 0.42, 0.13),
            (-0.6, 0.16, 0.08),
        )
    )
    cut = brush.choose((0.0, 0.5, -0.5, 0.8))
    shade = ""
    if cut:
        shade = shape(
            d("M", cx, cy - big, "A", big, big, "0 0", "1" if cut > 0 else "0", cx, cy + big)
            + d("A", big * abs(cut), big, "0 0", "0" if cut > 0 else "1", cx, cy - big, "Z"),
            mix(brush.fill(0), sky, 0.72),
        )
    row = []
    for k in range(5):
        x = w / 2 + (k - 2) * w * 0.17
        y = h * 0.82 + abs(k - 2) * -h * 0.022
        row.append(
            _phase(x=x, y=y, r=min(w, h) * 0.058, k=k, ink=brush.fill(1), off=mix(sky, brush.fill(1), 0.25))
        )
    far = [(brush.between(0.05, 0.95) * w, brush.between(0.03, 0.72) * h) for _ in range(18)]
    stars = dots(far[:11], brush.inks.line, 1.6) + dots(far[11:], brush.inks.line, 3)
    return rect(0, 0, w, h, sky) + stars + glow + moon + shade + craters + "".join(row)


def _phase(*, x: float, y: float, r: float, k: int, ink: str, off: str) -> str:
    lit = (0.25, 0.5, 1.0, 0.5, 0.25)[k]
    disc = circle(x, y, r, ink if lit == 1 else off)
    if lit == 1:
        return disc
    outer, inner = ("1", "0") if k < 2 else ("0", "1")
    rx = r * (0.001 if lit == 0.5 else 0.55)
    return disc + shape(
        d(
            "M",
            x,
            y - r,
            "A",
            r,
            r,
            "0 0",
            outer,
            x,
            y + r,
            "A",
            max(rx, 0.1),
            r,
            "0 0",
            inner,
            x,
            y - r,
            "Z",
        ),
        ink,
    )


def rain(brush: Brush, w: float, h: float) -> str:
    """Clouds, slanted rain, and an umbrella below."""
    unit = min(w, h) / 100
    sky = rect(0, 0, w, h, mix(brush.inks.ground, brush.fill(1), 0.16))
    slant = brush.between(0.14, 0.3)
    drops = []
    rows = max(4, round(h / (15 * unit)))
    for k in range(rows):
        for j in range(5):
            x = (j + 0.5 + 0.5 * (k % 2)) * w / 5.5 + brush.between(-3, 3) * unit
            y = h * 0.2 + k * (h * 0.8 / rows) + brush.between(-2, 2) * unit
            size = brush.between(5, 9) * unit
            drops.append(d("M", x, y, "l", -size * slant, size))
    lines = stroke("".join(drops), brush.fill(0), brush.width(1.5 * unit))
    cloud = "M0 0a13 13 0 0 1 18-13a19 19 0 0 1 35-2a15 15 0 0 1 17 15q0 5-5 5H4q-4 0-4-5z"
    clouds = group(shape(cloud, brush.fill(2)), x=w * 0.5, y=h * 0.14, scale=unit * 0.8)
    clouds += group(
        shape(cloud, brush.inks.light if brush.inks.night else brush.fill(3)),
        x=w * 0.08,
        y=h * 0.22,
        scale=unit * 0.72,
    )
    canopy = shape(
        "M-32 0A32 32 0 0 1 32 0Q26.7-6 21.3 0Q16-6 10.7 0Q5.3-6 0 0"
        "Q-5.3-6-10.7 0Q-16-6-21.3 0Q-26.7-6-32 0Z",
        brush.fill(1),
    )
    panel = shape("M0-32C-12-24-12-8-10.7 0Q-5.3-6 0 0Q5.3-6 10.7 0C12-8 12-24 0-32Z", brush.fill(0))
    stick = stroke("M0-36V26Q0 33 6 33Q12 33 12 27", brush.inks.line, 2.6)
    puddle = ellipse(0, 42, 30, 3, mix(brush.inks.ground, brush.fill(0), 0.45))
    open_ = group(
        puddle + stick + canopy + panel, x=w / 2, y=h * 0.68, scale=unit * 0.98, turn=brush.between(-8, 8)
    )
    return sky + lines + clouds + open_


def stars(brush: Brush, w: float, h: float) -> str:
    """A made-up constellation over a horizon."""
    unit = min(w, h) / 100
    sky = rect(0, 0, w, h, brush.inks.ground)
    far = [(brush.between(0, w), brush.between(0, h * 0.8)) for _ in range(30)]
    dust = dots(far[:20], brush.inks.line, unit) + dots(far[20:], brush.inks.line, 2 * unit)
    count = brush.choose((5, 6, 7))
    points = []
    for k in range(count):
        x = w * (0.16 + 0.68 * k / (count - 1)) + brush.between(-4, 4) * unit
        y = h * (0.2 + 0.4 * brush.between(0, 1)) if k % 2 else h * (0.34 + 0.3 * brush.between(0, 1))
        points.append((x, y))
    path = d("M", *points[0]) + "".join(d("L", x, y) for x, y in points[1:])
    extra = points[count // 2]
    path += d("M", *extra, "L", extra[0] + 6 * unit, h * 0.14)
    lines = stroke(path, brush.fill(1), brush.width(1.1 * unit))
    lights = "".join(
        circle(x, y, 5.4 * unit, mix(brush.inks.ground, brush.fill(0), 0.35))
        + _spark(x, y, brush.between(5, 8) * unit, brush.fill(0))
        for x, y in [*points, (extra[0] + 6 * unit, h * 0.14)]
    )
    orbit = ring(w * 0.5, h * 1.1, w * 0.62, brush.fill(2), 0.8 * unit) + ring(
        w * 0.5, h * 1.1, w * 0.7, brush.fill(2), 0.5 * unit
    )
    hill = d(
        "M",
        0,
        h * 0.86,
        "C",
        w * 0.25,
        h * 0.76,
        w * 0.4,
        h * 0.92,
        w * 0.62,
        h * 0.84,
        "S",
        w * 0.9,
        h * 0.8,
        w,
        h * 0.85,
    )
    land = shape(hill + d("V", h, "H", 0, "Z"), brush.fill(3))
    near = shape(d("M", 0, h * 0.93, "Q", w * 0.4, h * 0.86, w, h * 0.95, "V", h, "H", 0, "Z"), brush.fill(2))
    return sky + dust + orbit + lines + lights + land + near
