"""Slots: which places are for inserted items, over the pages of a session."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.feedgen.recipes.recipe import SlotRecipe
from services.feedgen.slots import Insertion, Placed, laid_out, planned

AD = SlotRecipe(name="ad", first=3, every=4)
NOTE = SlotRecipe(name="note", first=1)


def plan(
    *slots: SlotRecipe, pins: dict[str, list[int]], shown_before: int = 0, page_size: int = 10, gone: int = 0
) -> dict[int, int]:
    insertions = [Insertion(slot, pin) for slot, of_slot in pins.items() for pin in of_slot]
    placed = planned(
        slots,
        insertions,
        shown_before=shown_before,
        page_size=page_size,
        refused=lambda insertion: insertion.pin == gone,
    )
    return {one.place: one.insertion.pin for one in placed}


def test_slot_takes_its_insertions_in_order() -> None:
    assert plan(AD, pins={"ad": [71, 72]}) == {2: 71, 6: 72}


def test_every_goes_on_over_the_pages_of_a_session() -> None:
    # Places 3, 7, 11, 15, 19 of the session: the second page of 10 has 11, 15 and 19.
    assert plan(AD, pins={"ad": [71, 72, 73, 74]}, shown_before=10) == {0: 71, 4: 72, 8: 73}


def test_a_single_place_comes_once() -> None:
    assert plan(NOTE, pins={"note": [9]}) == {0: 9}
    assert plan(NOTE, pins={"note": [9]}, shown_before=10) == {}


def test_first_slot_has_a_place_that_two_want() -> None:
    both = SlotRecipe(name="ad", first=1, every=5)
    assert plan(NOTE, both, pins={"note": [9], "ad": [71, 72]}) == {0: 9, 5: 71}


def test_refused_and_doubled_pins_are_left_out() -> None:
    assert plan(AD, pins={"ad": [71, 72, 72, 73]}, gone=71) == {2: 72, 6: 73}


def test_reserved_place_stays_free_for_the_frontend() -> None:
    reserved = SlotRecipe(name="ad", first=2, every=4, reserve=True)
    assert plan(reserved, pins={"ad": [71]}) == {1: 71, 5: 0, 9: 0}


def test_items_stand_around_the_plan_and_a_short_page_ends_it() -> None:
    placed = [Placed(place, Insertion("ad", 70 + place)) for place in (0, 3, 8)]
    places, reached = laid_out(placed, 4)
    assert places == [1, 2, 4, 5]
    assert [one.place for one in reached] == [0, 3]


@given(
    first=st.integers(1, 30),
    every=st.integers(0, 10),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=8),
)
def test_pages_have_the_places_that_one_long_page_would_have(
    first: int, every: int, sizes: list[int]
) -> None:
    slot = SlotRecipe(name="ad", first=first, every=every, reserve=True)
    together, before = [], 0
    for size in sizes:
        together += [before + place for place in plan(slot, pins={}, shown_before=before, page_size=size)]
        before += size
    assert together == sorted(plan(slot, pins={}, page_size=before))
