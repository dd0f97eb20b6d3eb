"""The wall: one file that stands alone, says what it is, and trusts no title."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from services.cli.demo.pictures import Picture
from services.cli.demo.wall import CARDS_MAX, Card, Section, wall_html, write_wall

PICTURE = Picture("cats", "dusk", "pattern", "dawn", 7)
CARD = Card(PICTURE, "Cats in dusk", "Cats, collected", "fern_and_salt", why="board you follow", score=0.5)
TASTE = "likes cats, in dusk, at dawn"


class Tags(HTMLParser):
    """Counts what is open, to see that everything is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag != "meta":
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        if not self.stack or self.stack.pop() != tag:
            self.faults.append(tag)


def wall(*sections: Section) -> str:
    return wall_html("A home feed", sections, person="moss_needle", taste=TASTE)


def test_the_file_is_written_whole_and_its_size_returned(tmp_path: Path) -> None:
    path = tmp_path / "wall.html"
    size = write_wall(path, "A home feed", [Section("Now", "", [CARD])], person="moss_needle", taste=TASTE)
    assert path.stat().st_size == size
    assert path.read_text() == wall(Section("Now", "", [CARD]))


def test_the_page_stands_alone_and_is_well_formed() -> None:
    text = wall(Section("Before", "newest first", [CARD, CARD]), Section("After", "ranked", [CARD]))
    tags = Tags()
    tags.feed(text)
    assert not tags.faults
    assert not tags.stack
    assert len(tags.ids) == len(set(tags.ids)), "a picture that stands twice must not share ids"
    assert "<script" not in text
    # The SVG namespace is a name, not an address that is fetched.
    assert not re.findall(r'(?:src|href)="(?!#)|url\((?!#)|@import', text)


def test_every_use_points_to_a_shape_of_its_own_card() -> None:
    text = wall(Section("Before", "", [CARD]), Section("After", "", [CARD]))
    for article in re.findall(r"<article>.*?</article>", text, re.S):
        used = re.findall(r'href="#([^"]+)"', article) + re.findall(r"url\(#([^)]+)\)", article)
        assert used
        assert set(used) <= set(re.findall(r' id="([^"]+)"', article))


def test_the_header_says_whose_it_is_what_is_hidden_and_that_it_is_generated() -> None:
    header = wall(Section("Now", "", [CARD])).split("</header>")[0]
    assert "moss_needle" in header
    assert TASTE in header
    assert "simulated" in header
    assert "drawn from a seed" in header


def test_sections_come_in_order_with_their_cards() -> None:
    text = wall(Section("Before", "newest first", [CARD]), Section("After", "ranked", [CARD, CARD]))
    before, after = text.index("<h2>Before"), text.index("<h2>After")
    assert before < after
    assert text[before:after].count("<article>") == 1
    assert text[after:].count("<article>") == 2
    assert "board you follow" in text
    assert "0.500" in text


def test_words_of_others_are_escaped() -> None:
    bad = "<img src=x onerror=alert(1)>\"'&"
    card = Card(PICTURE, bad, bad, bad, why=bad)
    text = wall_html(bad, [Section(bad, bad, [card])], person=bad, taste=bad)
    assert "<img" not in text


def test_cards_that_fit_are_counted() -> None:
    fits = Card(PICTURE, "a", "b", "c", matches=True)
    assert "1 of 2 fit the taste" in wall(Section("Now", "", [fits, CARD]))
    assert "fit the taste" not in wall(Section("Now", "", [CARD]))


def test_an_empty_section_says_so() -> None:
    assert "Nothing to show" in wall(Section("Now", "", []))


@pytest.mark.parametrize(
    "sections", [[], [Section("Now", "", [CARD] * (CARDS_MAX + 1))]], ids=["no-section", "too-many-cards"]
)
def test_a_wall_without_sections_or_with_too_many_cards_is_refused(sections: list[Section]) -> None:
    with pytest.raises(ValueError, match="wall"):
        wall_html("x", sections, person="x", taste="x")
