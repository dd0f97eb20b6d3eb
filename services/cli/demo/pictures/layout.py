"""From a picture's attributes to its SVG text.

Owns the table of motifs and the compositions: what is one, what is framed, what is three, what repeats.
Main path: `draw → inks → composition → motif`. Refuses: files, screens, chance without a seed. The same
picture is the same text in every process; that text is valid XML and stands alone.
"""

from __future__ import annotations

from random import Random
from types import MappingProxyType
from typing import Final

from services.cli.demo.pictures import animals, botany, geometry, home, land, sky, travel
from services.cli.demo.pictures.brush import Brush, Scene, Subject
from services.cli.demo.pictures.inks import MOODS, PALETTES, Inks, inks_for, mix
from services.cli.demo.pictures.pen import circle, clipped, d, dots, group, num, rect, shape
from services.cli.demo.pictures.picture import Picture

SUBJECTS: Final = MappingProxyType[str, Subject](
    {
        "cats": animals.cat,
        "birds": animals.bird,
        "fish": animals.fish,
        "butterflies": animals.butterfly,
        "whales": animals.whale,
        "flowers": botany.flower,
        "leaves": botany.leaf,
        "cacti": botany.cactus,
        "mushrooms": botany.mushroom,
        "trees": botany.tree,
        "fruit": botany.fruit,
        "teacups": home.teacup,
        "lamps": home.lamp,
        "books": home.books,
        "chairs": home.chair,
        "vases": home.vase,
        "houses": travel.house,
        "lighthouses": travel.lighthouse,
        "sailboats": travel.sailboat,
        "bicycles": travel.bicycle,
        "balloons": travel.balloon,
        "planets": sky.planet,
    }
)
SCENES: Final = MappingProxyType[str, Scene](
    {
        "moons": sky.moons,
        "rain": sky.rain,
        "stars": sky.stars,
        "waves": land.waves,
        "mountains": land.mountains,
        "city": land.city,
        "dunes": land.dunes,
        "bauhaus": geometry.bauhaus,
        "mondrian": geometry.mondrian,
        "weaving": geometry.weaving,
        "azulejo": geometry.azulejo,
        "spirals": geometry.spirals,
        "arches": geometry.arches,
    }
)
MOTIFS: Final = (*SUBJECTS, *SCENES)
COMPOSITIONS: Final = ("solo", "window", "trio", "pattern")

WIDTH: Final = 240
# Two panels in a frame, three subjects on discs, or a repeated pair must stay under the 6 KB of a picture.
_PANEL_BYTES_MAX: Final = 2_500
_TRIO_BYTES_MAX: Final = 4_600
_PAIR_BYTES_MAX: Final = 3_900
HEIGHTS: Final = MappingProxyType(
    {"solo": (320, 300), "window": (340, 320), "trio": (300, 360), "pattern": (320, 280)}
)


def draw(picture: Picture) -> str:
    """One SVG element, 240 units wide and 280 to 360 high, under 6 KB.

    Raises: ValueError when the motif, palette, composition or mood is unknown.
    """
    palette = PALETTES.get(picture.palette)
    if palette is None or picture.mood not in MOODS or picture.composition not in COMPOSITIONS:
        raise ValueError(f"unknown palette, mood or composition: {picture.to_uri()}")
    # The text seeds the generator, so every attribute changes the chances, on every platform alike.
    rng = Random(picture.to_uri())
    inks = inks_for(palette, mood=picture.mood, rng=rng)
    height = HEIGHTS[picture.composition][rng.random() < 0.4]
    name = f"p{rng.getrandbits(40):010x}"
    if picture.motif in SUBJECTS:
        content = _subject_picture(
            SUBJECTS[picture.motif], picture.composition, Brush(inks, rng), height, name
        )
    elif picture.motif in SCENES:
        content = _scene_picture(picture, Brush(inks, rng), height, name)
    else:
        raise ValueError(f"unknown motif: {picture.to_uri()}")
    ground = _ground(inks, height=height, mood=picture.mood, rng=rng, name=name)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{picture.motif}, {picture.palette}, {picture.mood}">{ground}{content}</svg>'
    )


def _ground(inks: Inks, *, height: int, mood: str, rng: Random, name: str) -> str:
    if mood == "dawn":
        stops = f'<stop stop-color="{inks.ground}"/><stop offset="1" stop-color="{inks.horizon}"/>'
        return (
            f'<linearGradient id="{name}g" x2="0" y2="1">{stops}</linearGradient>'
            f'<rect width="{WIDTH}" height="{height}" fill="url(#{name}g)"/>'
        )
    plain = f'<rect width="{WIDTH}" height="{height}" fill="{inks.ground}"/>'
    if mood == "night":
        faint = mix(inks.ground, inks.light, 0.6)
        far = [(rng.random() * WIDTH, rng.random() * height) for _ in range(16)]
        return plain + dots(far[:10], faint, 1.4) + dots(far[10:], faint, 2.6)
    return plain


def _subject_picture(motif: Subject, composition: str, brush: Brush, height: int, name: str) -> str:
    if composition == "solo":
        backs = (_disc, _arch, _blob, _table)
        back = brush.choose(backs)(brush, height)
        return back + group(motif(brush), x=120, y=height / 2 + 4, scale=1.78)
    if composition == "window":
        return _subject_window(motif, brush, height, name)
    if composition == "trio":
        return _subject_trio(motif, brush, height, name)
    return _subject_pattern(motif, brush, height, name)


def _disc(brush: Brush, height: int) -> str:
    return circle(
        120 + brush.between(-10, 10),
        height / 2 - brush.between(0, 14),
        brush.between(84, 96),
        brush.inks.halo,
    )


def _arch(brush: Brush, height: int) -> str:
    half = brush.between(74, 86)
    low = height - 36
    return shape(
        d(
            "M",
            120 - half,
            low,
            "V",
            40 + half,
            "A",
            half,
            half,
            "0 0 1",
            120 + half,
            40 + half,
            "V",
            low,
            "Z",
        ),
        brush.inks.halo,
    )


def _blob(brush: Brush, height: int) -> str:
    """A pebble: four curves about the middle, each corner pulled a little."""
    cy = height / 2
    a, b, c, e = (brush.between(78, 104) for _ in range(4))
    return shape(
        d(
            "M",
            120 - a,
            cy,
            "C",
            120 - a,
            cy - b * 0.7,
            120 - b * 0.6,
            cy - b,
            120,
            cy - b,
            "S",
            120 + c,
            cy - c * 0.6,
            120 + c,
            cy,
        )
        + d("S", 120 + e * 0.6, cy + e, 120, cy + e, "S", 120 - a, cy + a * 0.6, 120 - a, cy, "Z"),
        brush.inks.halo,
    )


def _table(brush: Brush, height: int) -> str:
    """A low field and a sun behind: the oldest still life there is."""
    line = height / 2 + 66
    sun = circle(
        120 + brush.choose((-1, 1)) * brush.between(30, 56),
        brush.between(70, 96),
        brush.between(30, 44),
        brush.inks.halo,
    )
    return sun + rect(0, line, WIDTH, height - line, brush.inks.halo)


def _subject_window(motif: Subject, brush: Brush, height: int, name: str) -> str:
    """A coloured field with a window; the subject stands in it, on a sill."""
    frame = mix(brush.inks.dark, brush.inks.fills[3], 0.35) if brush.inks.night else brush.inks.fills[3]
    inner = brush.inks.ground if brush.inks.night else brush.inks.horizon
    low = height - 44
    opening = d("M", 36, low, "V", 118, "A", 84, 84, "0 0 1", 204, 118, "V", low, "Z")
    sill = rect(28, low, 184, 9, brush.inks.light if not brush.inks.night else brush.inks.fills[1], 4.5)
    rim = (
        f'<path d="{opening}" fill="none" stroke="{brush.inks.light}" stroke-width="{brush.width(2.6):.1f}"/>'
    )
    sun = circle(120 + brush.between(-40, 40), 104, 42, mix(inner, brush.inks.fills[2], 0.4))
    view = shape(opening, inner) + clipped(sun, clip=f'<path d="{opening}"/>', name=name)
    return (
        rect(0, 0, WIDTH, height, frame)
        + view
        + rim
        + group(motif(brush), x=120, y=low - 72, scale=1.5)
        + sill
    )


def _subject_trio(motif: Subject, brush: Brush, height: int, name: str) -> str:
    """Three of a kind along a gentle diagonal, each on its own disc."""
    tall = ((72.0, 0.2), (166.0, 0.5), (76.0, 0.8))
    spots = tall if height > 320 else ((68.0, 0.27), (172.0, 0.27), (120.0, 0.72))
    mirrored = brush.chance(0.5)
    drawn = [motif(Brush(brush.inks, brush.rng, k)) for k in range(3)]
    if sum(map(len, drawn)) > _TRIO_BYTES_MAX:
        drawn[2] = f'<use href="#{name}" transform="scale(-1 1)"/>'
    drawn[0] = f'<g id="{name}">{drawn[0]}</g>'
    parts = []
    for content, (left, y) in zip(drawn, spots, strict=True):
        x = WIDTH - left if mirrored else left
        parts.append(circle(x, height * y, 51, brush.inks.halo))
        parts.append(group(content, x=x, y=height * y, scale=0.84))
    return "".join(parts)


def _subject_pattern(motif: Subject, brush: Brush, height: int, name: str) -> str:
    """Two drawings that alternate over a half-drop grid, as on wallpaper."""
    first, second = motif(brush), motif(Brush(brush.inks, brush.rng, 1))
    if len(first) + len(second) > _PAIR_BYTES_MAX:
        second = f'<use href="#{name}a" transform="scale(-1.43 1.43)"/>'
    cells = "".join(f'<g id="{name}{k}">{group(c, scale=0.7)}</g>' for k, c in (("a", first), ("b", second)))
    defs = f"<defs>{cells}</defs>"
    step = 80.0
    rows = round(height / step) + 1
    uses, dots = [], []
    for column in range(4):
        for row in range(rows):
            x, y = column * step, row * step + (step / 2 if column % 2 else 0) - 6
            which = "a" if (row + column // 2) % 2 else "b"
            uses.append(f'<use href="#{name}{which}" x="{x:.0f}" y="{y:.0f}"/>')
            dots.append(circle(x, y + step / 2, 2.4, brush.inks.halo))
    return "".join(dots) + defs + "".join(uses)


def _scene_picture(picture: Picture, brush: Brush, height: int, name: str) -> str:
    motif, composition = SCENES[picture.motif], picture.composition
    paper = _margin(brush.inks, mood=picture.mood)
    if composition == "solo":
        return motif(brush, WIDTH, height)
    if composition == "window":
        low = height - 26
        clip = brush.choose(
            (
                shape(d("M", 26, low, "V", 120, "A", 94, 94, "0 0 1", 214, 120, "V", low, "Z"), "#000"),
                f'<ellipse cx="120" cy="{height / 2:.0f}" rx="98" ry="{min(height / 2 - 26, 124):.0f}"/>',
            )
        )
        inner = group(motif(brush, 192, height - 52), x=24, y=26)
        return rect(0, 0, WIDTH, height, paper) + clipped(inner, clip=clip, name=name)
    if composition == "trio":
        clip = "".join(rect(20 + 69 * k, 30, 62, height - 60, "#000", 3) for k in range(3))
        inner = group(motif(brush, 200, height - 60), x=20, y=30)
        return rect(0, 0, WIDTH, height, paper) + clipped(inner, clip=clip, name=name)
    return rect(0, 0, WIDTH, height, paper) + _scene_panels(motif, brush, height, name)


def _margin(inks: Inks, *, mood: str) -> str:
    """What surrounds a framed scene: paper when calm, colour when bold, dusk at night, tint at dawn."""
    if mood == "bold":
        return inks.fills[2]
    if mood == "night":
        return mix(inks.dark, inks.light, 0.08)
    return mix(inks.light, inks.fills[3], 0.32) if mood == "dawn" else inks.light


def _scene_panels(motif: Scene, brush: Brush, height: int, name: str) -> str:
    """Four panels, two above two; the lower ones mirror the upper. A busy scene is drawn once."""
    width, tall = 99.0, (height - 54) / 2
    first = motif(brush, width, tall)
    second = motif(Brush(brush.inks, brush.rng, 1), width, tall) if len(first) < _PANEL_BYTES_MAX else ""
    clip = f'<clipPath id="{name}">{rect(0, 0, width, tall, "#000", 4)}</clipPath>'
    drawn = "".join(
        f'<g id="{name}{letter}" clip-path="url(#{name})">{content}</g>'
        for letter, content in (("a", first), ("b", second))
        if content
    )
    # (drawing, left edge, top, mirrored): a b over b' a', or with one drawing a a' over a' a.
    top, low, left, right = 24, 30 + tall, 18.0, WIDTH - 18 - width
    other, turned = ("b", False) if second else ("a", True)
    places = (
        ("a", left, top, False),
        (other, right, top, turned),
        (other, left, low, True),
        ("a", right, low, not turned),
    )
    uses = "".join(
        f'<use href="#{name}{letter}" transform="translate({num(x + width)} {num(y)}) scale(-1 1)"/>'
        if mirrored
        else f'<use href="#{name}{letter}" x="{num(x)}" y="{num(y)}"/>'
        for letter, x, y, mirrored in places
    )
    return f"<defs>{clip}{drawn}</defs>{uses}"
