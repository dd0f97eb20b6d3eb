"""The picture wall: a page of a feed as one HTML file that a person can look at.

Owns the file and nothing else: it is given pictures and words, and writes them, with its style inside and no
script, so that it opens anywhere and years later. Two sections side by side of the scroll show "before" and
"after". It says that pictures and audience are generated. Refuses: choosing pins, calling services.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from services.cli.demo.pictures import Picture, draw

CARDS_MAX: Final = 2_000
"""A wall of more cards is refused: at 3 KB a picture, browsers and people give up before it is read."""


@dataclass(frozen=True, slots=True)
class Card:
    """One pin as shown. `why` may be empty, `score` None; `matches` marks what fits the hidden taste."""

    picture: Picture
    title: str
    board: str
    owner: str
    why: str = ""
    score: float | None = None
    matches: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A page of a feed with its heading; `note` is one line below it."""

    title: str
    note: str
    cards: Sequence[Card]


def write_wall(path: Path, title: str, sections: Sequence[Section], *, person: str, taste: str) -> int:
    """Writes the wall to `path` (replaced when there) and returns its size in bytes.

    `person` and `taste` stand in the header: whose feed it is, and what was hidden from the model.
    Raises: ValueError when there is no section or there are more than CARDS_MAX cards; OSError from the file.
    """
    text = wall_html(title, sections, person=person, taste=taste)
    return path.write_bytes(text.encode())


def wall_html(title: str, sections: Sequence[Section], *, person: str, taste: str) -> str:
    count = sum(len(section.cards) for section in sections)
    if not sections or count > CARDS_MAX:
        raise ValueError(f"a wall has at least one section and at most {CARDS_MAX} cards, not {count}")
    jump = ""
    if len(sections) > 1:
        links = "".join(f'<a href="#s{k}">{escape(s.title)}</a>' for k, s in enumerate(sections))
        jump = f"<nav>{links}</nav>"
    body = "".join(_section(section, index=k) for k, section in enumerate(sections))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<header><h1>{escape(title)}</h1>"
        f'<p class="who">For <b>{escape(person)}</b>, who {escape(taste)}.</p>'
        '<p class="made">The taste is hidden from the feed. The pictures are drawn from a seed, and the '
        f"audience is simulated: no person and no photograph is behind any of it.</p>{jump}</header>"
        f"<main>{body}</main></body></html>\n"
    )


def _section(section: Section, *, index: int) -> str:
    matching = sum(card.matches for card in section.cards)
    tally = f'<span class="tally">{matching} of {len(section.cards)} fit the taste</span>' if matching else ""
    # A picture may stand on the page twice, so each card's ids get their own prefix: ids are per document.
    cards = "".join(_card(card, rank=k + 1, prefix=f"s{index}c{k}") for k, card in enumerate(section.cards))
    empty = '<p class="note">Nothing to show.</p>' if not section.cards else ""
    return (
        f'<section id="s{index}"><h2>{escape(section.title)}{tally}</h2>'
        f'<p class="note">{escape(section.note)}</p>{empty}<div class="wall">{cards}</div></section>'
    )


def _card(card: Card, *, rank: int, prefix: str) -> str:
    drawing = draw(card.picture)
    for mark in (' id="', 'href="#', "url(#"):
        drawing = drawing.replace(mark, f"{mark}{prefix}")
    score = f'<span class="score">{card.score:.3f}</span>' if card.score is not None else ""
    why = f'<p class="why">{escape(card.why)}{score}</p>' if card.why or score else ""
    fits = '<span class="fits" title="fits the hidden taste">fits</span>' if card.matches else ""
    return (
        f'<article><div class="picture">{drawing}{fits}</div><h3><i>{rank}</i>{escape(card.title)}</h3>'
        f'<p class="from">{escape(card.board)} <span>by {escape(card.owner)}</span></p>{why}</article>'
    )


_STYLE: Final = """
:root{color-scheme:light dark;--paper:#faf8f4;--ink:#24211d;--soft:#6f6960;--line:#e4dfd5;--tag:#24211d}
@media (prefers-color-scheme:dark){:root{--paper:#171615;--ink:#ece8e1;--soft:#a09a90;--line:#34312d}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.45 ui-sans-serif,system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
header,section{max-width:1360px;margin:0 auto;padding:0 28px}
header{padding-top:44px}
h1{font-size:30px;line-height:1.15;letter-spacing:-.02em;margin:0 0 10px}
.who{font-size:18px;margin:0 0 4px;max-width:46em}
.made,.note,.from,.why{color:var(--soft)}
.made{margin:0;max-width:46em}
nav{display:flex;flex-wrap:wrap;gap:8px;margin-top:18px}
nav a{color:inherit;text-decoration:none;border:1px solid var(--line);border-radius:99px;padding:5px 14px}
nav a:hover,nav a:focus-visible{border-color:currentColor}
section{padding-top:34px;padding-bottom:12px}
h2{font-size:20px;letter-spacing:-.01em;margin:0}
.tally{margin-left:12px;font-size:13px;font-weight:500;color:var(--soft);letter-spacing:0}
.note{margin:2px 0 18px}
.wall{columns:6 190px;column-gap:20px}
article{break-inside:avoid;margin:0 0 24px}
.picture{position:relative;border-radius:14px;overflow:hidden;box-shadow:0 0 0 1px rgba(128,120,110,.16)}
.picture svg{display:block;width:100%;height:auto}
.fits{position:absolute;left:10px;top:10px;background:var(--tag);color:#fff;font-size:11px;font-weight:600;
padding:2px 9px;border-radius:99px}
h3{font-size:14px;line-height:1.3;margin:9px 2px 1px;overflow-wrap:anywhere}
h3 i{font-style:normal;font-weight:500;color:var(--soft);margin-right:6px}
.from,.why{font-size:12.5px;line-height:1.4;margin:0 2px;overflow-wrap:anywhere}
.from span{white-space:nowrap}
.why{margin-top:3px;display:flex;justify-content:space-between;gap:10px}
.score{flex:none;white-space:nowrap;font-variant-numeric:tabular-nums}
@media (max-width:560px){header,section{padding-left:14px;padding-right:14px}header{padding-top:26px}
h1{font-size:25px}.who{font-size:16px}.tally{display:block;margin:0}.wall{columns:2;column-gap:12px}article{margin-bottom:18px}
.from span{white-space:normal}}
"""
