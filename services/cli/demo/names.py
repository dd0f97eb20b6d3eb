"""Invented names: handles of people, titles and keys of boards.

Owns uniqueness (a number is added to the second of two equal names). Refuses: real persons; a handle is two
common words, such as `fern_and_salt`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

_FIRST_WORDS: Final = """
fern salt amber linen cedar pebble saffron indigo maple copper willow clover velvet hazel cobalt juniper paper
ginger moss olive plum quartz rusty sable tawny umber violet wander yarrow zinc birch cinder drift ember frost
gable harbor ivory jasper kelp
"""
_SECOND_WORDS: Final = """
salt thread lantern harbour button kettle orchard window meadow pocket ribbon studio teapot valley wren anchor
basket candle drawer feather garden hollow island journal kiln ladder marble needle oyster pepper quill ruler
saucer thimble umbrella violin whistle yonder almanac bramble
"""
_FIRST: Final = tuple(_FIRST_WORDS.split())
_SECOND: Final = tuple(_SECOND_WORDS.split())
_LINKS: Final = ("_and_", "_", "_or_")


def handles(picks: Iterable[int]) -> list[str]:
    """One handle per number in `picks` (>= 0), unique in the list."""
    out, seen = [], dict[str, int]()
    for pick in picks:
        rest, first = divmod(pick, len(_FIRST))
        rest, second = divmod(rest, len(_SECOND))
        name = f"{_FIRST[first]}{_LINKS[rest % len(_LINKS)]}{_SECOND[second]}"
        out.append(unique(name, seen, joint="_"))
    return out


def unique(name: str, seen: dict[str, int], *, joint: str) -> str:
    """`name`, or `name` with the next free number; `seen` is updated."""
    while name in seen:
        seen[name] += 1
        name = f"{name}{joint}{seen[name]}"
    seen[name] = 1
    return name


def slug(text: str) -> str:
    """Lower-case words joined by `-`, without accents: `Vögel, bei Nacht` is `vogel-bei-nacht`."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
