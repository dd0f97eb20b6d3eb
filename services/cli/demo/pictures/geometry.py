"""Scenes without a subject: quarter circles, grids, weaving, tiles, spirals, arches.

A scene fills the rectangle that it is given and leaves clipping to `layout.py`. Grids are chosen so that
cells stay near squares at every aspect.
"""

from __future__ import annotations

import math

from services.cli.demo.pictures.brush import Brush
from services.cli.demo.pictures.inks import mix
from services.cli.demo.pictures.pen import circle, d, ellipse, group, num, rect, shape, stroke


def _grid(w: float, h: float, *, columns: int) -> tuple[float, float, int]:
    """Cell width, cell height and rows for `columns` columns of nearly square cells."""
    rows = max(1, round(h / (w / columns)))
    return w / columns, h / rows, rows


def bauhaus(brush: Brush, w: float, h: float) -> str:
    """A grid of quarter circles, half circles, discs and bars."""
    columns = brush.choose((3, 4) if h < 1.3 * w else (3,)) if w > 120 else 2
    cw, ch, rows = _grid(w, h, columns=columns)
    parts = [rect(0, 0, w, h, brush.inks.ground)]
    inks = (*brush.inks.fills, brush.inks.dark if not brush.inks.night else brush.inks.light)
    for row in range(rows):
        for column in range(round(w / cw)):
            first = brush.choose(inks)
            second = brush.choose([ink for ink in inks if ink != first])
            x, y = column * cw, row * ch
            cell = rect(-cw / 2, -ch / 2, cw + 0.4, ch + 0.4, first) + _figure(
                brush, cw=cw, ch=ch, ink=second
            )
            parts.append(group(cell, x=x + cw / 2, y=y + ch / 2))
    return "".join(parts)


def _figure(brush: Brush, *, cw: float, ch: float, ink: str) -> str:
    a, b = cw / 2, ch / 2
    kind = brush.choose(("quarter", "quarter", "half", "disc", "leaf", "bars"))
    sx, sy = brush.choose((-1, 1)), brush.choose((-1, 1))
    if kind == "disc":
        return circle(0, 0, min(a, b) * 0.72, ink)
    sweep = "1" if sx * sy > 0 else "0"
    if kind == "quarter":
        return shape(
            d("M", -a * sx, -b * sy, "H", a * sx, "A", cw, ch, "0 0", sweep, -a * sx, b * sy, "Z"), ink
        )
    if kind == "half":
        return shape(d("M", -a, b * sy, "A", a, b, "0 0", "1" if sy > 0 else "0", a, b * sy, "Z"), ink)
    if kind == "leaf":
        turn = "1" if sx > 0 else "0"
        return shape(
            d(
                "M",
                -a * sx,
                -b,
                "A",
                cw,
                ch,
                "0 0",
                turn,
                a * sx,
                b,
                "A",
                cw,
                ch,
                "0 0",
                turn,
                -a * sx,
                -b,
                "Z",
            ),
            ink,
        )
    return "".join(rect(-a, -b + ch * k / 6, cw, ch / 12 + 0.4, ink) for k in (0.6, 2, 3.4, 4.8))


def mondrian(brush: Brush, w: float, h: float) -> str:
    """Fields of colour between heavy lines."""
    fields = [(0.0, 0.0, w, h)]
    for _ in range(9):
        fields.sort(key=lambda f: f[2] * f[3])
        x, y, fw, fh = fields.pop()
        share = brush.choose((0.3, 0.38, 0.62, 0.7))
        if fw / w > fh / h * brush.between(0.7, 1.3):
            fields += [(x, y, fw * share, fh), (x + fw * share, y, fw * (1 - share), fh)]
        else:
            fields += [(x, y, fw, fh * share), (x, y + fh * share, fw, fh * (1 - share))]
    pale = brush.inks.light if not brush.inks.night else mix(brush.inks.dark, brush.inks.light, 0.1)
    bar = brush.inks.dark if not brush.inks.night else brush.inks.light
    parts = []
    for k, (x, y, fw, fh) in enumerate(sorted(fields, key=lambda _: brush.rng.random())):
        ink = brush.inks.fills[k % 4] if k < 6 else pale
        parts.append(rect(x, y, fw, fh, ink))
    width = brush.width(min(w, h) * 0.022)
    grid = "".join(d("M", x, y, "h", fw, "v", fh, "h", -fw, "z") for x, y, fw, fh in fields)
    return "".join(parts) + f'<path d="{grid}" fill="none" stroke="{bar}" stroke-width="{width:.1f}"/>'


def weaving(brush: Brush, w: float, h: float) -> str:
    """Broad ribbons that pass over and under one another."""
    columns = brush.choose((5, 6)) if w > 120 else 4
    cw, ch, rows = _grid(w, h, columns=columns)
    gap = 0.13
    warp = [brush.fill(k) for k in (0, 3, 1, 3, 0, 1)]
    weft = [brush.fill(k) for k in (2, 1, 2)]
    parts = [rect(0, 0, w, h, brush.inks.dark)]
    for column in range(columns):
        x = column * cw + cw * gap
        parts.append(rect(x, 0, cw * (1 - 2 * gap), h, warp[column % 6]))
        fine = d("M", x + cw * 0.2, 0, "v", h, "M", x + cw * 0.54, 0, "v", h)
        parts.append(stroke(fine, brush.inks.light, 0.9) if column % 2 else "")
    for row in range(rows):
        y = row * ch + ch * gap
        over = "".join(
            d(
                "M",
                column * cw - cw * gap * 0.2,
                y,
                "h",
                cw * (1 + gap * 0.4),
                "v",
                ch * (1 - 2 * gap),
                "h",
                -cw * (1 + gap * 0.4),
                "z",
            )
            for column in range(columns)
            if (column + row) % 2
        )
        lines = "".join(
            d("M", column * cw, y + ch * (0.5 - gap), "h", cw)
            for column in range(columns)
            if (column + row) % 2
        )
        parts.append(
            shape(over, weft[row % 3]) + f'<path d="{lines}" stroke="{brush.inks.light}" stroke-width="1"/>'
        )
    return "".join(parts)


def azulejo(brush: Brush, w: float, h: float) -> str:
    """Painted tiles: four-fold flowers and corners that meet."""
    columns = brush.choose((3, 4)) if w > 120 else 2
    cw, ch, rows = _grid(w, h, columns=columns)
    pale = mix(brush.inks.light, brush.fill(0), 0.06)
    first, second, third = brush.inks.fills[0], brush.inks.fills[1], brush.inks.fills[2]
    star = brush.chance(0.5)
    petal = "M0 0C-15-9-13-25 0-36C13-25 15-9 0 0Z" if star else "M0 0C-22-12-20-30 0-32C20-30 22-12 0 0Z"
    tile = rect(-49.5, -49.5, 99, 99, pale, 2)
    tile += "".join(
        circle(x, y, 21, third) + circle(x, y, 12, pale) + circle(x, y, 6, first)
        for x in (-50, 50)
        for y in (-50, 50)
    )
    tile += "".join(group(shape(petal, first), turn=a) for a in range(0, 360, 90))
    small = shape("M0-6Q-6-24 0-42Q6-24 0-6Z", second)
    tile += "".join(group(small, turn=a) for a in range(45, 360, 90))
    tile += circle(0, 0, 9, second) + circle(0, 0, 4, pale)
    name = f"t{brush.rng.getrandbits(32):08x}"
    clip = f'<clipPath id="{name}c">{rect(-49.5, -49.5, 99, 99, "#000", 2)}</clipPath>'
    defs = f'<defs>{clip}<g id="{name}" clip-path="url(#{name}c)">{tile}</g></defs>'
    scale = f"scale({cw / 100:.3f} {ch / 100:.3f})"
    uses = "".join(
        f'<use href="#{name}" transform="translate({num(cw * (c + 0.5))} {num(ch * (r + 0.5))}) {scale}"/>'
        for r in range(rows)
        for c in range(columns)
    )
    return rect(0, 0, w, h, mix(brush.inks.light, brush.inks.dark, 0.35)) + defs + uses


def spirals(brush: Brush, w: float, h: float) -> str:
    """One great double spiral with beads along it; each arm is a chain of half circles that grow."""
    cx, cy = w * brush.between(0.44, 0.56), h * brush.between(0.44, 0.56)
    turns, hand = brush.choose((4, 5)), brush.choose((-1, 1))
    gap = math.hypot(w, h) * 0.21 / turns
    arms = []
    for arm in (1, -1):
        path, x = d("M", 0, 0), 0.0
        for k in range(1, 2 * turns + 3):
            reach = gap * k * (1 if k % 2 else -1) * arm
            path += d("A", abs(reach - x) / 2, abs(reach - x) / 2, "0 0", "1" if hand > 0 else "0", reach, 0)
            x = reach
        arms.append(stroke(path, brush.fill(0 if arm > 0 else 1), brush.width(gap * 0.42)))
    beads = []
    for k in range(1, 2 * turns + 2):
        reach = gap * k
        ink = brush.fill(2 + k % 2)
        beads.append(
            circle(reach if k % 2 else -reach, 0, gap * 0.3, ink)
            + circle(-reach if k % 2 else reach, 0, gap * 0.13, brush.inks.light)
        )
    whole = "".join(arms) + "".join(beads) + circle(0, 0, gap * 0.5, brush.fill(3))
    return rect(0, 0, w, h, brush.inks.ground) + group(whole, x=cx, y=cy, turn=brush.between(0, 180))


def arches(brush: Brush, w: float, h: float) -> str:
    """Nested arches standing side by side and above one another."""
    columns = 2 if w > 120 else 1
    cw, ch, rows = _grid(w, h, columns=columns)
    parts = [rect(0, 0, w, h, brush.inks.ground)]
    for row in range(rows):
        for column in range(columns):
            flip = brush.chance(0.3)
            start = brush.choose((0, 1, 2, 3))
            bands = brush.choose((3, 4, 5))
            inner = []
            for k in range(bands):
                half = cw * 0.46 * (1 - k / bands)
                if half < 2:
                    continue
                ink = brush.inks.fills[(start + k) % 4]
                spring = cw * 0.46 - ch * 0.46
                inner.append(
                    shape(
                        d(
                            "M",
                            -half,
                            ch / 2,
                            "V",
                            spring,
                            "A",
                            half,
                            half,
                            "0 0 1",
                            half,
                            spring,
                            "V",
                            ch / 2,
                            "Z",
                        ),
                        ink,
                    )
                )
            seed = ellipse(0, ch * 0.34, cw * 0.05, cw * 0.05, brush.inks.light)
            cell = group("".join(inner) + seed, turn=180 if flip else 0)
            parts.append(group(cell, x=cw * (column + 0.5), y=ch * (row + 0.5)))
    return "".join(parts)
