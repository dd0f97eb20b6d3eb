"""Pictures: every family draws, small, valid and the same each time; addresses survive a round trip."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.demo.pictures import COMPOSITIONS, MOODS, MOTIFS, PALETTES, Picture, draw
from services.cli.demo.pictures.inks import distance, inks_for
from services.cli.demo.pictures.pen import d, num

PICTURE_BYTES_MAX = 6_144
SVG = "{http://www.w3.org/2000/svg}"

pictures = st.builds(
    Picture,
    motif=st.sampled_from(MOTIFS),
    palette=st.sampled_from(sorted(PALETTES)),
    composition=st.sampled_from(COMPOSITIONS),
    mood=st.sampled_from(MOODS),
    seed=st.integers(0, 2**32 - 1),
)


@pytest.mark.parametrize("composition", COMPOSITIONS)
@pytest.mark.parametrize("motif", MOTIFS)
def test_every_family_is_valid_xml_of_bounded_size(motif: str, composition: str) -> None:
    for k, (palette, mood) in enumerate(zip(PALETTES, MOODS * 3, strict=True)):
        text = draw(Picture(motif, palette, composition, mood, seed=977 * k))
        root = ElementTree.fromstring(text)  # our own text, not a stranger's
        assert root.tag == f"{SVG}svg"
        assert len(text.encode()) <= PICTURE_BYTES_MAX
        left, top, width, height = map(int, root.attrib["viewBox"].split())
        assert (left, top, width) == (0, 0, 240)
        assert 280 <= height <= 360
        assert len(list(root.iter())) > 5


@pytest.mark.parametrize("motif", MOTIFS)
def test_every_reference_inside_a_picture_is_defined_once(motif: str) -> None:
    for composition in COMPOSITIONS:
        for mood in MOODS:
            text = draw(Picture(motif, "dusk", composition, mood, seed=5))
            defined = re.findall(r' id="([^"]+)"', text)
            used = re.findall(r'href="#([^"]+)"', text) + re.findall(r"url\(#([^)]+)\)", text)
            assert len(defined) == len(set(defined))
            assert set(used) <= set(defined)


def test_every_path_holds_only_commands_with_their_numbers() -> None:
    # Two numbers that lost the space between them draw nonsense, and remain valid XML.
    takes = {"M": 2, "L": 2, "T": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "A": 7, "Z": 0}
    for k, motif in enumerate(MOTIFS):
        for composition in COMPOSITIONS:
            text = draw(Picture(motif, "forest", composition, MOODS[k % 4], seed=k))
            for path in re.findall(r' d="([^"]*)"', text):
                for command, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", path):
                    values = [float(n) for n in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", numbers)]
                    want = takes[command.upper()]
                    assert (len(values) % want == 0 and values) if want else not values, (motif, path)
                    assert all(abs(v) < 1_000 for v in values), (motif, path)


@given(pictures)
def test_address_survives_a_round_trip(picture: Picture) -> None:
    assert Picture.from_uri(picture.to_uri()) == picture


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "cats/dusk/solo/calm/1",
        "picture:cats/dusk/solo/calm",
        "picture:cats/dusk/solo/calm/1/2",
        "picture:cats//solo/calm/1",
        "picture:cats/dusk/solo/calm/-1",
        "picture:cats/dusk/solo/calm/01",
        "picture:cats/dusk/solo/calm/\u0661",
        f"picture:cats/dusk/solo/calm/{2**32}",
        "picture:cats/dusk/solo/calm/" + "9" * 5_000,
    ],
    ids=lambda uri: uri[:40] or "empty",
)
def test_an_address_with_another_spelling_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="picture"):
        Picture.from_uri(uri)


@pytest.mark.parametrize("part", ["motif", "palette", "composition", "mood"])
def test_unknown_names_are_refused(part: str) -> None:
    parts = {"motif": "cats", "palette": "dusk", "composition": "solo", "mood": "calm", part: "nothing"}
    with pytest.raises(ValueError, match="unknown"):
        draw(Picture(**parts, seed=1))


@given(pictures)
def test_same_picture_is_the_same_text(picture: Picture) -> None:
    assert draw(picture) == draw(Picture.from_uri(picture.to_uri()))


def test_seeds_vary_the_picture() -> None:
    for motif in MOTIFS:
        assert len({draw(Picture(motif, "nordic", "solo", "calm", seed)) for seed in range(4)}) == 4


@given(picture=pictures)
def test_the_body_of_a_motif_shows_on_its_ground(picture: Picture) -> None:
    from random import Random

    inks = inks_for(PALETTES[picture.palette], mood=picture.mood, rng=Random(picture.seed))
    assert distance(inks.fills[0], inks.ground) > 0.15
    assert distance(inks.line, inks.ground) > 0.3


def test_path_numbers_keep_apart() -> None:
    assert d("A", 84, 84, "0 0 1", 204, 118, "V", -3, "q", 1, -2) == "A84 84 0 0 1 204 118V-3q1-2"
    assert (num(2.04), num(-0.01), num(1.25), num(10)) == ("2", "0", "1.2", "10")
