"""Palettes and moods: which six colours a picture may use, and what each is for.

Owns the twelve palettes and the four moods; turns a pair of them into `Inks`, colours by role, so that no
motif names a colour and every motif works in every palette. Refuses: shapes.
A palette is chosen as a printmaker would: one paper, one deep tone, four inks that can lie side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours as six hex digits with `#`; `family` is what a person would call the whole."""

    paper: str
    deep: str
    accents: tuple[str, str, str, str]
    family: str


PALETTES: Final = MappingProxyType(
    {
        "terracotta": Palette(
            "#f6ebdd", "#3b2a2f", ("#c8553d", "#e9a178", "#7a8b6f", "#f0c48f"), "earth tones"
        ),
        "lagoon": Palette("#eaf4f1", "#0f3b4c", ("#1b7f8c", "#5fc2ba", "#f2a65e", "#f3d9a4"), "cool tones"),
        "citrus": Palette("#fff6df", "#2f4030", ("#f28c28", "#f6c844", "#7fa650", "#e4572e"), "bright tones"),
        "dusk": Palette("#f6eaf1", "#2b2350", ("#6c4a9e", "#d9659b", "#f5a07a", "#a9a4db"), "pastel tones"),
        "forest": Palette("#f2f0e0", "#1d3329", ("#2f6b4f", "#8dae6d", "#d9a441", "#b5573a"), "earth tones"),
        "nordic": Palette("#f2f4f2", "#26323d", ("#4f7390", "#a4bfcd", "#d8957f", "#e3c26b"), "cool tones"),
        "candy": Palette("#fff1f2", "#432a55", ("#ee5f8a", "#ffaebf", "#5cc0c5", "#ffd166"), "pastel tones"),
        "primary": Palette(
            "#f7f2e4", "#1d1d24", ("#d62f2b", "#1d5fa8", "#f4bd26", "#c9c0ac"), "bright tones"
        ),
        "clay": Palette("#f7efe6", "#47302a", ("#a3563c", "#d08c60", "#e6ba90", "#8a7768"), "earth tones"),
        "indigo": Palette("#eff1f9", "#191e4a", ("#2f42a6", "#6f88da", "#b3c2f0", "#f2bd6c"), "cool tones"),
        "rosewood": Palette("#fbefe9", "#43202b", ("#9c2f45", "#d9776f", "#f0b5a2", "#5e8274"), "warm tones"),
        "mint": Palette("#eef8f0", "#1c4242", ("#35a188", "#a0d9bd", "#f3836f", "#f9d08a"), "pastel tones"),
    }
)

MOODS: Final = ("calm", "bold", "night", "dawn")


@dataclass(frozen=True, slots=True)
class Inks:
    """Colours by role. `line` shows on `ground`; `dark` and `light` show on any of `fills`.

    `fills` is ordered: the first two show well on `ground` and on `halo`, so a motif's body takes `fills[0]`.
    """

    ground: str
    horizon: str
    halo: str
    line: str
    dark: str
    light: str
    fills: tuple[str, str, str, str]
    weight: float
    night: bool


def mix(a: str, b: str, share: float) -> str:
    """`share` of `b` in `a`, per channel in sRGB (a printer's tint, not a physical light)."""
    pairs = zip(_channels(a), _channels(b), strict=True)
    return "#" + "".join(f"{round(x + (y - x) * share):02x}" for x, y in pairs)


def distance(a: str, b: str) -> float:
    """How far apart two colours look, 0 to about 1: the "redmean" weighting of RGB, cheap and good enough."""
    (ar, ag, ab), (br, bg, bb) = _channels(a), _channels(b)
    mean = (ar + br) / 2
    r, g, blue = ar - br, ag - bg, ab - bb
    squared = (2 + mean / 256) * r * r + 4 * g * g + (2 + (255 - mean) / 256) * blue * blue
    return float(squared**0.5 / 765)


def inks_for(palette: Palette, *, mood: str, rng: Random) -> Inks:
    """The roles of a palette's colours in one mood; `rng` decides which ink leads."""
    paper, deep, accents = palette.paper, palette.deep, palette.accents
    lead = rng.randrange(4)
    turned = [accents[(lead + i) % 4] for i in range(4)]
    if mood == "calm":
        ground, horizon, line, weight = paper, mix(paper, turned[3], 0.12), deep, 1.0
        fills = [mix(colour, paper, 0.1) for colour in turned]
    elif mood == "bold":
        ground = max(turned, key=lambda colour: distance(colour, deep) * distance(colour, paper))
        horizon, line, weight = ground, deep, 1.35
        fills = [colour for colour in turned if colour != ground]
        fills.append(paper)
    elif mood == "night":
        ground, horizon, line, weight = mix(deep, "#000000", 0.18), mix(deep, accents[0], 0.3), paper, 1.0
        fills = list(turned)
    else:
        ground, horizon = mix(accents[2], paper, 0.55), mix(accents[1], paper, 0.82)
        line, weight = deep, 0.85
        fills = [mix(colour, paper, 0.04) for colour in turned]
    halo = _halo(ground=ground, fills=fills, palette=palette, mood=mood)
    fills.sort(key=lambda c: min(distance(c, ground), distance(c, halo), 0.24), reverse=True)
    return Inks(
        ground=ground,
        horizon=horizon,
        halo=halo,
        line=line,
        dark=deep,
        light=paper,
        fills=(fills[0], fills[1], fills[2], fills[3]),
        weight=weight,
        night=mood == "night",
    )


def _halo(*, ground: str, fills: list[str], palette: Palette, mood: str) -> str:
    """The quiet shape behind a subject: near the ground, so that the subject stays the loudest."""
    if mood == "bold":
        return mix(ground, palette.paper, 0.55)
    if mood == "night":
        return mix(ground, fills[3], 0.28)
    return mix(ground, fills[3], 0.38)


def _channels(colour: str) -> tuple[int, int, int]:
    value = int(colour[1:], 16)
    return value >> 16, value >> 8 & 255, value & 255
