"""Slots: the places of a feed that are for inserted items (ads, announcements).

Owns the rule, pure: which places of a page belong to which slot, and what stands there. Places count over the
pages of a session, so "every 8" goes on from page to page. An insertion that was shown in the session, or
that the user hides, is left out; one pin is inserted once. Next: `pipeline.py`, which fills the other places.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.feedgen.recipes.recipe import SlotRecipe


@dataclass(frozen=True)
class Insertion:
    """An item that the caller wants on the page; pin 0: a place that is kept free."""

    slot: str
    pin: int
    board: int = 0
    owner: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Placed:
    """An insertion, and its place on the page, 0 the first."""

    place: int
    insertion: Insertion


def planned(
    slots: Sequence[SlotRecipe],
    insertions: Sequence[Insertion],
    *,
    shown_before: int,
    page_size: int,
    refused: Callable[[Insertion], bool],
) -> list[Placed]:
    """What is inserted into a page of `page_size` items that follows `shown_before` others, by place.

    `refused` says which insertions may not be shown. Where two slots want one place, the first has it.
    """
    waiting: dict[str, deque[Insertion]] = {slot.name: deque() for slot in slots}
    pins: set[int] = set()
    for insertion in insertions:
        if insertion.slot in waiting and insertion.pin not in pins and not refused(insertion):
            waiting[insertion.slot].append(insertion)
            pins.add(insertion.pin)
    plan: dict[int, Insertion] = {}
    for slot in slots:
        for place in _places(slot, shown_before, page_size):
            if place in plan:
                continue
            if waiting[slot.name]:
                plan[place] = waiting[slot.name].popleft()
            elif slot.reserve:
                plan[place] = Insertion(slot.name, 0)
    return [Placed(place, plan[place]) for place in sorted(plan)]


def laid_out(plan: Sequence[Placed], item_count: int) -> tuple[list[int], list[Placed]]:
    """The places of `item_count` items around the plan, and the part of the plan that the page reaches."""
    if not plan:
        return list(range(item_count)), []
    taken = {placed.place for placed in plan}
    places: list[int] = []
    place = 0
    while len(places) < item_count:
        if place not in taken:
            places.append(place)
        place += 1
    # What is planned right behind the last item still belongs to the page.
    while place in taken:
        place += 1
    return places, [placed for placed in plan if placed.place < place]


def _places(slot: SlotRecipe, shown_before: int, page_size: int) -> range:
    """Places of the slot on this page, 0 the first."""
    first = slot.first - 1 - shown_before
    if not slot.every:
        return range(first, min(first + 1, page_size)) if first >= 0 else range(0)
    if first < 0:
        first += -(first // slot.every) * slot.every
    return range(first, page_size, slot.every)
