"""Scenes of land and water: waves, mountains, city, dunes.

A scene fills the rectangle that it is given and leaves clipping to `layout.py`. Layers run from far and pale
to near and strong, as in a cut-paper print.
"""

from __future__ import annotations

import math

from services.cli.demo.pictures.brush import Brush
from services.cli.demo.pictures.inks import mix
from services.cli.demo.pictures.pen import circle, d, num, rect, shape, stroke


def _sky(brush: Brush, w: float, h: float, *, top: float, bottom: float) -> str:
    """Ground, and a sun or moon that stands between the heights `top` and `bottom` (shares of h)."""
    r = min(w, h) * brush.between(0.13, 0.2)
    x, y = w * brush.between(0.25, 0.75), h * brush.between(top, bottom)
    halo = circle(x, y, r * 1.35, mix(brush.inks.ground, brush.fill(3), 0.35))
    return rect(0, 0, w, h, brush.inks.ground) + halo + circle(x, y, r, brush.fill(3))


def waves(brush: Brush, w: float, h: float) -> str:
    """Rows of rolling waves, or a field of fans."""
    if brush.chance(0.45):
        return _fans(brush, w, h)
    parts = [_sky(brush, w, h, top=0.2, bottom=0.32)]
    rows = 6
    for k in range(rows):
        y = h * (0.4 + 0.6 * k / rows)
        length = w / (2.2 + 0.3 * (rows - k))
        swing = h * (0.018 + 0.006 * k)
        x = -length * brush.between(0.1, 1)
        path = d("M", x, y, "q", length / 4, -swing * 2, length / 2, 0)
        path += d("t", length / 2, 0) * (math.ceil((w - x) / (length / 2)) + 1)
        ink = mix(brush.fill(k % 3), brush.inks.ground, 0.34 - 0.06 * k)
        parts.append(shape(path + d("V", h + 9, "H", x, "Z"), ink))
        parts.append(stroke(path, brush.inks.light, brush.width(1.4)))
    return "".join(parts)


def _fans(brush: Brush, w: float, h: float) -> str:
    """Overlapping fans in rows (seigaiha): one row is drawn, and used again with another tone."""
    size = w / brush.choose((3, 4))
    half = size / 2
    count, rows = math.ceil(w / size) + 1, math.ceil(h / (size * 0.25)) + 2
    discs = "".join(d("M", j * size - half, 0, "a", half, half, "0 0 1", size, 0, "z") for j in range(count))
    rings = "".join(
        d("M", j * size - half * s, 0, "a", half * s, half * s, "0 0 1", size * s, 0)
        for j in range(count)
        for s in (0.66, 0.34)
    )
    name = f"f{brush.rng.getrandbits(32):08x}"
    row = f'<g id="{name}" stroke="{brush.inks.light}" stroke-width="{brush.width(1.6):.1f}">'
    defs = f'<defs>{row}<path d="{discs}"/><path d="{rings}" fill="none"/></g></defs>'
    uses = "".join(
        f'<use href="#{name}" x="{num(0 if k % 2 else half)}" y="{num(k * size * 0.25)}" '
        f'fill="{mix(brush.fill(0), brush.fill(1), k / rows)}"/>'
        for k in range(rows)
    )
    return rect(0, 0, w, h, brush.fill(0)) + defs + uses


def mountains(brush: Brush, w: float, h: float) -> str:
    """Ranges behind one another, the nearest with snow."""
    parts = [_sky(brush, w, h, top=0.18, bottom=0.34)]
    for k in range(3):
        base = h * (0.5 + 0.14 * k)
        ink = mix(brush.fill((2, 1, 0)[k]), brush.inks.ground, (0.45, 0.25, 0.0)[k])
        count = (4, 3, 2)[k]
        points = [(-0.1 * w, base)]
        for j in range(count):
            peak = base - h * brush.between(0.1, 0.17 + 0.07 * k)
            points.append((w * (j + brush.between(0.35, 0.65)) / count, peak))
            points.append((w * (j + 1) / count, base - h * brush.between(0, 0.05)))
        points.append((w * 1.1, base))
        path = d("M", 0 - w * 0.1, h, "L") + " ".join(d(x, y) for x, y in points) + d("L", w * 1.1, h, "Z")
        parts.append(
            f'<path d="{path}" fill="{ink}" stroke="{ink}" stroke-width="5" stroke-linejoin="round"/>'
        )
        if k:
            parts.extend(
                _snow(brush, before=points[i - 1], peak=points[i], after=points[i + 1])
                for i in range(1, len(points) - 1, 2)
            )
    lake = rect(0, h * 0.86, w, h * 0.2, mix(brush.fill(1), brush.inks.light, 0.35))
    shine = stroke(
        "".join(
            d("M", w * brush.between(0.05, 0.75), h * y, "h", w * brush.between(0.08, 0.2))
            for y in (0.89, 0.92, 0.95, 0.97)
        ),
        brush.inks.light,
        brush.width(1.5),
    )
    return "".join(parts) + lake + shine


def _snow(
    brush: Brush, *, before: tuple[float, float], peak: tuple[float, float], after: tuple[float, float]
) -> str:
    """The cap of one peak: its upper third, with a ragged lower edge."""
    (bx, by), (px, py), (ax, ay) = before, peak, after
    left, right = (
        (px + (bx - px) * 0.34, py + (by - py) * 0.34),
        (px + (ax - px) * 0.34, py + (ay - py) * 0.34),
    )
    low, mid = max(left[1], right[1]), (left[0] + right[0]) / 2
    edge = d(
        "L",
        right[0],
        right[1],
        mid + (right[0] - mid) * 0.4,
        low - (low - py) * 0.25,
        mid,
        low + (low - py) * 0.2,
    )
    edge += d("L", mid + (left[0] - mid) * 0.5, low - (low - py) * 0.3, left[0], left[1], "Z")
    return shape(d("M", px, py - 1) + edge, brush.inks.light)


def city(brush: Brush, w: float, h: float) -> str:
    """A skyline in two depths, with lit windows."""
    parts = [_sky(brush, w, h, top=0.16, bottom=0.34)]
    x = 0.0
    far = mix(brush.fill(2), brush.inks.ground, 0.5)
    while x < w:
        width = w * brush.between(0.09, 0.16)
        parts.append(rect(x, h * brush.between(0.36, 0.56), width + 1, h, far))
        x += width
    x, k = -w * 0.02, 0
    while x < w:
        width = w * brush.between(0.16, 0.24)
        top = h * brush.between(0.42, 0.7)
        parts.append(_tower(brush, x=x, top=top, width=width, h=h, k=k))
        x, k = x + width + w * 0.012, k + 1
    road = rect(0, h * 0.95, w, h * 0.05 + 1, brush.inks.dark)
    return "".join(parts) + road


def _tower(brush: Brush, *, x: float, top: float, width: float, h: float, k: int) -> str:
    ink = (brush.fill(0), brush.fill(1), brush.fill(2))[k % 3]
    roof = brush.choose(("flat", "spire", "round", "step"))
    middle = x + width / 2
    cap = ""
    if roof == "spire":
        cap = shape(d("M", x, top + 0.5, "L", middle, top - width * 0.7, "L", x + width, top + 0.5, "Z"), ink)
    elif roof == "round":
        cap = shape(d("M", x, top + 0.5, "A", width / 2, width / 2, "0 0 1", x + width, top + 0.5, "Z"), ink)
    elif roof == "step":
        cap = rect(x + width * 0.2, top - width * 0.25, width * 0.6, width * 0.27, ink)
        cap += stroke(d("M", middle, top - width * 0.25, "v", -width * 0.35), ink, 2)
    # A column of windows is one dashed line; a few dark panes over it keep it from looking ruled.
    step = width / 3.6
    columns = "".join(
        d("M", x + width * (0.22 + 0.28 * j), top + step * 0.6, "V", h * 0.93) for j in range(3)
    )
    lit = (
        f'<path d="{columns}" stroke="{brush.inks.light}" stroke-width="{num(step * 0.55)}" '
        f'stroke-dasharray="{num(step * 0.62)} {num(step * 0.53)}"/>'
    )
    rows = max(1, int((h * 0.9 - top) / (step * 1.15)))
    off = "".join(
        d(
            "M",
            x + width * (0.22 + 0.28 * int(brush.between(0, 3))) - step * 0.34,
            top + step * (0.55 + 1.15 * int(brush.between(0, rows))),
        )
        + d("h", step * 0.68, "v", step * 0.72, "h", -step * 0.68, "z")
        for _ in range(rows)
    )
    return cap + rect(x, top, width, h - top, ink) + lit + shape(off, mix(ink, brush.inks.dark, 0.3))


def dunes(brush: Brush, w: float, h: float) -> str:
    """Sand in long curves, each with its shaded side."""
    parts = [_sky(brush, w, h, top=0.16, bottom=0.36)]
    for k in range(5):
        y = h * (0.44 + 0.12 * k)
        side = 1 if (k + brush.step) % 2 else -1
        crest = w * (0.5 + side * brush.between(0.1, 0.26))
        peak = y - h * brush.between(0.07, 0.12)
        light = mix(brush.fill(k % 2), brush.inks.ground, 0.36 - 0.09 * k)
        shade = mix(light, brush.inks.dark, 0.3)
        path = d(
            "M",
            -2,
            y,
            "Q",
            crest * 0.6,
            y - h * 0.01,
            crest,
            peak,
            "Q",
            crest + (w - crest) * 0.5,
            y - h * 0.01,
            w + 2,
            y + h * 0.02,
        )
        parts.append(shape(path + d("V", h, "H", -2, "Z"), light))
        foot = crest - side * w * brush.between(0.12, 0.3)
        parts.append(
            shape(
                d(
                    "M",
                    crest,
                    peak,
                    "Q",
                    crest + side * w * 0.3,
                    y + h * 0.02,
                    w if side > 0 else 0,
                    y + h * 0.07,
                )
                + d("V", h, "H", foot, "Q", crest + side * w * 0.16, y + h * 0.1, crest, peak, "Z"),
                shade,
            )
        )
    return "".join(parts)
