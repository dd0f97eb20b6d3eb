"""SVG as short strings: the few elements that every motif is made of.

Owns the number format (one decimal, no trailing zeros) that keeps a picture under its size limit, and the
only place where an element's text is put together. Refuses: colours, layout, chance.
Where next: `inks.py` for colour, `layout.py` for how a picture is composed.
"""

from __future__ import annotations

from collections.abc import Iterable


def num(value: float) -> str:
    """One decimal at most: a tenth of a unit is invisible at 240 units of width, and digits are bytes."""
    text = f"{value:.1f}"
    text = text.removesuffix(".0")
    return "0" if text == "-0" else text


def d(*parts: str | float) -> str:
    """Path data from letters and numbers: `d("M", 0, 1.25, "Z")` is `M0 1.2Z`."""
    text = ""
    for part in parts:
        piece = part if isinstance(part, str) else num(part)
        # Two numbers need a space between them, unless the second brings its own minus sign.
        apart = text and piece and not text[-1].isalpha() and not (piece[0].isalpha() or piece[0] == "-")
        text += f" {piece}" if apart else piece
    return text


def circle(x: float, y: float, r: float, fill: str) -> str:
    return f'<circle cx="{num(x)}" cy="{num(y)}" r="{num(r)}" fill="{fill}"/>'


def ring(x: float, y: float, r: float, colour: str, width: float) -> str:
    return (
        f'<circle cx="{num(x)}" cy="{num(y)}" r="{num(r)}" fill="none" '
        f'stroke="{colour}" stroke-width="{num(width)}"/>'
    )


def ellipse(x: float, y: float, rx: float, ry: float, fill: str) -> str:
    return f'<ellipse cx="{num(x)}" cy="{num(y)}" rx="{num(rx)}" ry="{num(ry)}" fill="{fill}"/>'


def rect(x: float, y: float, width: float, height: float, fill: str, r: float = 0) -> str:
    round_ = f' rx="{num(r)}"' if r else ""
    return (
        f'<rect x="{num(x)}" y="{num(y)}" width="{num(width)}" height="{num(height)}"{round_} fill="{fill}"/>'
    )


def shape(path: str, fill: str) -> str:
    return f'<path d="{path}" fill="{fill}"/>'


def stroke(path: str, colour: str, width: float) -> str:
    """An open line with round ends and joins."""
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{num(width)}" '
        f'stroke-linecap="round" stroke-linejoin="round"/>'
    )


def dots(points: Iterable[tuple[float, float]], colour: str, width: float) -> str:
    """Many small discs of one size, as zero-length strokes in one path: 10 bytes each, not 50."""
    return stroke("".join(d("M", x, y, "h0") for x, y in points), colour, width)


def group(
    content: str,
    *,
    x: float = 0,
    y: float = 0,
    turn: float = 0,
    scale: float = 1,
    flip: bool = False,
    opacity: float = 1,
) -> str:
    """Moves to (x, y), then turns (degrees), then scales; `flip` mirrors left and right."""
    steps: list[str] = []
    if x or y:
        steps.append(f"translate({num(x)} {num(y)})")
    if turn:
        steps.append(f"rotate({num(turn)})")
    if scale != 1 or flip:
        across = -scale if flip else scale
        steps.append(f"scale({across:.3g} {scale:.3g})" if flip else f"scale({scale:.3g})")
    transform = f' transform="{"".join(steps)}"' if steps else ""
    faint = f' opacity="{opacity:.2g}"' if opacity != 1 else ""
    return f"<g{transform}{faint}>{content}</g>"


def clipped(content: str, *, clip: str, name: str) -> str:
    """`content` seen through the shape `clip`; `name` must be unique in the page that holds the picture."""
    return f'<clipPath id="{name}">{clip}</clipPath><g clip-path="url(#{name})">{content}</g>'
