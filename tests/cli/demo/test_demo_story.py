"""The choices of the story: whose feed, and what they do."""

from __future__ import annotations

import pytest

from feedmesh.feedgen.v1 import feedgen_pb2
from services.cli.demo import events
from services.cli.demo.addresses import addressed
from services.cli.demo.story import (
    PAGE,
    RARE_MAX,
    SAVED_COUNT,
    Page,
    Person,
    Shown,
    choose_act,
    choose_person,
    reachable,
)
from services.cli.demo.taste import taste_probability
from services.cli.demo.world import World
from services.cli.faults import UsageFault


def page_of(*subjects: str, fitting: str = "") -> Page:
    """A feed whose pins are of these subjects, in this order; those of `fitting` fit the taste."""
    shown = []
    for rank, subject in enumerate(subjects, 1):
        item = feedgen_pb2.Item(pin=rank)
        item.display.interests.append(subject)
        shown.append(Shown(rank, item, rank, fits=subject == fitting))
    return Page(shown, "a-model", "request")


def test_the_person_is_the_same_each_time_and_no_creator(world: World) -> None:
    person = choose_person(world)
    assert person == choose_person(world)
    assert not world.people.is_creator[person]
    assert world.tastes.drift_ms[person] == 0


def test_a_person_can_be_named(world: World) -> None:
    assert choose_person(world, world.people.keys[17]) == 17


def test_a_name_that_nobody_has_is_wrong_use(world: World) -> None:
    with pytest.raises(UsageFault, match="nobody here"):
        choose_person(world, "no-such-person")


def test_a_fifth_of_what_is_in_reach_fits(world: World) -> None:
    named = addressed(world)
    person = Person(named, events.Ids.of(named), choose_person(named))
    within = reachable(named, person.index)
    share = (taste_probability(named, person.index, within) >= person.fit_least).mean()
    assert share == pytest.approx(0.2, abs=0.03)


def test_the_act_is_of_the_nearest_subject_that_the_page_lacks() -> None:
    act = choose_act(page_of(*["cats"] * PAGE, *["birds"] * 10, *["dunes"] * 10))
    assert act is not None
    assert act.interest == "birds"
    assert [one.rank for one in act.pins] == [21, 22, 23]


def test_a_subject_that_fills_the_page_is_not_chosen() -> None:
    act = choose_act(page_of(*["birds"] * (RARE_MAX + 1), *["cats"] * 16, *["birds"] * 10, *["dunes"] * 9))
    assert act is not None
    assert act.interest == "dunes"


def test_a_short_feed_still_has_an_act() -> None:
    act = choose_act(page_of(*["cats"] * 8, *["birds"] * (SAVED_COUNT + 1)))
    assert act is not None
    assert act.interest == "birds"


def test_a_feed_without_any_subject_twice_has_none() -> None:
    assert choose_act(page_of("cats", "birds", "dunes")) is None


def test_a_subject_that_fits_the_taste_comes_before_a_nearer_one() -> None:
    act = choose_act(page_of(*["cats"] * PAGE, *["birds"] * 10, *["dunes"] * 10, fitting="dunes"))
    assert act is not None
    assert act.interest == "dunes"


def test_each_turn_is_about_somebody_else(world: World) -> None:
    people = [choose_person(world, turn=turn) for turn in range(4)]
    assert len(set(people)) == 4
