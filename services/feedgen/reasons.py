"""Why an item is on the page, in one short sentence, and the pins that led to it.

Owns the sentences. Names are used where the display asked for them and Rockstore had them; a reason never
waits for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from feedmesh.type.v1 import type_pb2
from services.feedgen.page import Ask, Page, Source, Sourced

_TITLE_CHARS = 60
_WALKS = {
    "recent_pins": ("near “{}”, which you acted on lately", "near pins that you acted on lately"),
    "own_boards": ("near “{}”, on a board of yours", "near pins of your own boards"),
    "followed_boards": ("near “{}”, on a board that you follow", "near pins of boards that you follow"),
}


def led_from(page: Page, row: int) -> Sequence[tuple[int, int]]:
    """The pins from which walks came to an item, with visits, the most first."""
    sourced = page.sources[int(page.items.sources[row])]
    return () if sourced.walked is None else sourced.walked.led_from.get(int(page.items.boards[row]), ())


def leading_pins(page: Page) -> list[int]:
    """The pins that led to the page's items, each once."""
    return list(
        dict.fromkeys(pin for row in range(len(page.items)) for pin, _ in islice(led_from(page, row), 3))
    )


def reason(page: Page, row: int, ask: Ask) -> str:
    """The sentence of one item."""
    sourced = page.sources[int(page.items.sources[row])]
    if sourced.basis == "popular":
        return _popular(page, sourced)
    if sourced.recipe.kind == "walk":
        return _walked(page, row, ask, sourced)
    if interest := int(page.items.interests[row]):
        found = page.objects.found.get((type_pb2.OBJECT_KIND_INTEREST, interest))
        title = found.interest.title if found is not None else ""
        return f"you follow {title}" if title else "you follow this interest"
    via = int(page.items.via[row])
    if not via:
        return "you follow this board"
    owner = page.objects.found.get((type_pb2.OBJECT_KIND_USER, via))
    name = owner.user.name if owner is not None and "owner" in ask.display else ""
    return f"you follow {name}, who owns this board" if name else "you follow the owner of this board"


def title_of(page: Page, pin: int) -> str:
    """A pin's title, as far as it was read."""
    found = page.objects.found.get((type_pb2.OBJECT_KIND_PIN, pin))
    return found.pin.title if found is not None else ""


def _popular(page: Page, sourced: Sourced) -> str:
    if page.source is Source.POPULAR_COLD_START:
        first = "open or save" if sourced.recipe.kind == "walk" else "follow"
        return f"popular now, until you {first} something"
    if page.source is Source.POPULAR_FALLBACK:
        return "popular now; what you follow could not be read"
    return "popular now"


def _walked(page: Page, row: int, ask: Ask, sourced: Sourced) -> str:
    named, unnamed = _WALKS[sourced.basis]
    first = next(iter(led_from(page, row)), None)
    title = title_of(page, first[0]) if first is not None and "title" in ask.display else ""
    if len(title) > _TITLE_CHARS:
        title = f"{title[: _TITLE_CHARS - 1]}…"
    return named.format(title) if title else unnamed
