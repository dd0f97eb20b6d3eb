"""The feeds beside FOLLOWING: interests, walks, the blend, what is hidden and what is inserted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import NotFound, Unavailable
from services.feedgen.answers import Acted, Hidden
from services.feedgen.config import BudgetConfig
from services.feedgen.page import Page, Ranking, Source
from services.feedgen.pipeline import Feed
from services.feedgen.slots import Insertion
from services.feedgen.sources.last_known import LastKnownGraphs
from tests.feedgen.fake_mesh import FakeMesh
from tests.feedgen.recipes import recipe
from tests.feedgen.test_pipeline import NOW_MS, USER, ask, make, status_of

PIN = type_pb2.OBJECT_KIND_PIN


@pytest.fixture
def mesh() -> FakeMesh:
    """Boards 1 and 2 are followed, 11 to 14 hold pins of theirs, and others; so are interests 50 and 51."""
    mesh = FakeMesh(follows={USER: [1, 2]}, interests={USER: [50, 51]})
    for board in (1, 2, 11, 12, 13, 14, 21):
        mesh.owners[board] = 100 + board
        mesh.boards[board] = [(board * 1_000 + at, NOW_MS - at * 60_000, 0.5) for at in range(1, 61)]
    mesh.boards[11].append((1_001, NOW_MS - 5_000, 0.5))
    mesh.boards[12] += [(1_001, NOW_MS - 5_000, 0.5), (2_001, NOW_MS - 5_000, 0.5)]
    mesh.boards[13].append((90_001, NOW_MS - 5_000, 0.5))
    for interest in (50, 51):
        mesh.interest_pins[interest] = [
            (interest * 1_000 + at, NOW_MS - at * 60_000, 0.5) for at in range(1, 61)
        ]
        for pin, _, _ in mesh.interest_pins[interest]:
            mesh.objects_by_key[PIN, pin] = rockstore_pb2.Object(
                id=pin, version=1, pin=type_pb2.Pin(board=interest * 10 + pin % 7, owner=300 + pin % 7)
            )
    mesh.popularity = {pin: float(pin) for pin in range(9_001, 9_101)}
    return mesh


@pytest.fixture
def feed(mesh: FakeMesh) -> Feed:
    return Feed(mesh, BudgetConfig(), LastKnownGraphs(bytes_max=1_000_000))


def act(mesh: FakeMesh, *pins: int, age_s: int = 60) -> None:
    """The user acted on pins, the first one latest."""
    count = len(pins)
    mesh.acted[USER] = Acted(
        np.array(pins, np.uint64),
        np.ones(count, np.float32),
        np.array([NOW_MS // 1000 - age_s - at for at in range(count)], np.uint32),
    )


def basis_of(page: Page, name: str) -> str:
    return next(one.basis for one in page.sources if one.recipe.name == name)


def test_interest_feed_has_pins_of_followed_interests_with_their_boards(feed: Feed, mesh: FakeMesh) -> None:
    page, run = make(feed, ask(feed="interest"))
    assert {pin // 1_000 for pin in page.items.pins.tolist()} == {50, 51}
    assert set(page.items.interests.tolist()) == {50, 51}
    assert page.items.boards.all()
    assert "retrieve" not in mesh.calls
    assert "retrieve_interests" in mesh.calls
    assert run.complete


def test_interests_without_any_pin_are_as_good_as_none(feed: Feed, mesh: FakeMesh) -> None:
    mesh.interest_pins.clear()
    page, run = make(feed, ask(feed="interest"))
    assert page.source is Source.POPULAR_COLD_START
    assert len(page.items) == 20
    assert run.complete


def test_picked_walks_from_what_the_user_did_to_boards_they_do_not_have(feed: Feed, mesh: FakeMesh) -> None:
    act(mesh, 1_001)
    page, run = make(feed, ask(feed="picked_for_you"))
    assert set(page.items.boards.tolist()) == {11, 12}
    assert basis_of(page, "picked") == "recent_pins"
    (walk,) = mesh.walks
    assert {1, 2} <= set(walk.excluded_boards.tolist())
    assert run.complete


def test_visits_of_the_walk_are_features_of_the_candidates(feed: Feed, mesh: FakeMesh) -> None:
    act(mesh, 1_001, 2_001)
    make(feed, ask(feed="picked_for_you"))
    ((scored, _),) = mesh.scored
    visits = dict(zip(scored.boards.tolist(), scored.board_visits.tolist(), strict=True))
    assert visits == {11: 1.0, 12: 2.0}
    assert set(scored.pin_visits.tolist()) == {1.0}


def test_older_actions_weigh_less(feed: Feed, mesh: FakeMesh) -> None:
    mesh.acted[USER] = Acted(
        np.array([1_001, 2_001], np.uint64),
        np.array([1.0, 1.0], np.float32),
        np.array([NOW_MS // 1000 - 72 * 3_600, NOW_MS // 1000], np.uint32),
    )
    make(feed, ask(feed="picked_for_you"))
    (walk,) = mesh.walks
    assert walk.pins.tolist() == [2_001, 1_001]
    assert walk.weights.tolist() == pytest.approx([1.0, 0.5])


@pytest.mark.parametrize(
    ("case", "basis"),
    [("acted", "recent_pins"), ("owns", "own_boards"), ("follows", "followed_boards"), ("none", "popular")],
)
def test_who_did_nothing_gets_the_next_basis_and_the_answer_says_which(
    feed: Feed, mesh: FakeMesh, case: str, basis: str
) -> None:
    user = USER if case in ("acted", "follows") else 8
    if case == "acted":
        act(mesh, 1_001)
    if case == "owns":
        mesh.owners[13] = 8
        mesh.boards[14].append((13_001, NOW_MS, 0.5))
    page, run = make(feed, ask(user=user, feed="picked_for_you"))
    assert basis_of(page, "picked") == basis
    assert len(page.items) == 20
    assert run.complete
    assert (page.source is Source.POPULAR_COLD_START) == (basis == "popular")


def test_pages_of_a_session_walk_alike(feed: Feed, mesh: FakeMesh) -> None:
    act(mesh, 1_001)
    first, _ = make(feed, ask(feed="picked_for_you"))
    make(feed, ask(feed="picked_for_you", cursor=ask(feed="picked_for_you").cursor.after(first.pins)))
    assert mesh.walks[0].seed == mesh.walks[1].seed


@pytest.mark.parametrize("fault", [NotFound("no graph yet"), Unavailable("away")], ids=["no graph", "away"])
def test_feed_is_made_without_pixie(feed: Feed, mesh: FakeMesh, fault: NotFound | Unavailable) -> None:
    act(mesh, 1_001)
    mesh.faults["walk"] = fault
    picked, run = make(feed, ask(feed="picked_for_you"))
    away = isinstance(fault, Unavailable)
    assert picked.source is (Source.POPULAR_FALLBACK if away else Source.POPULAR_COLD_START)
    assert status_of(run)["walk"] == ("missed" if away else "skipped")
    assert run.complete != away
    home, run = make(feed, ask(feed="home"))
    assert len(home.items) == 20
    assert home.source is Source.RECIPE
    assert status_of(run)["walk:picked"] == ("missed" if away else "skipped")


def test_walk_from_recent_pins_needs_no_graph_and_is_not_called_last_known(
    feed: Feed, mesh: FakeMesh
) -> None:
    act(mesh, 1_001)
    mesh.down("user_graph")
    page, run = make(feed, ask(feed="picked_for_you"))
    assert basis_of(page, "picked") == "recent_pins"
    assert page.source is Source.RECIPE
    assert status_of(run)["graph"] == "missed"


def test_home_blends_the_three(feed: Feed, mesh: FakeMesh) -> None:
    act(mesh, 1_001)
    page, run = make(feed, ask(feed="home"))
    counts = Counter(page.items.sources.tolist())
    assert counts[0] >= 6
    assert counts[1] >= 2
    assert counts[2] >= 2
    assert len(set(page.items.pins.tolist())) == 20
    assert run.complete
    assert mesh.calls.count("score") == 1, "all sources are scored together"


def test_pin_that_several_sources_have_belongs_to_the_first(feed: Feed, mesh: FakeMesh) -> None:
    act(mesh, 1_001)
    mesh.interest_pins[50].append((1_010, NOW_MS, 1.0))
    page, _ = make(feed, ask(feed="home", page_size=200))
    rows = np.flatnonzero(page.items.pins == 1_010)
    assert page.items.sources[rows].tolist() == [0]


def test_twenty_pages_of_home_never_repeat(feed: Feed, mesh: FakeMesh) -> None:
    act(mesh, 1_001, 2_001)
    cursor, served = ask(feed="home").cursor, []
    for _ in range(20):
        page, _ = make(feed, ask(feed="home", cursor=cursor, page_size=10))
        served += page.pins.tolist()
        cursor = cursor.after(page.pins)
    assert len(served) == len(set(served)) > 150


@pytest.mark.parametrize("name", ["following", "interest", "picked_for_you", "home"])
def test_hidden_pins_boards_and_owners_are_gone_in_every_feed(feed: Feed, mesh: FakeMesh, name: str) -> None:
    act(mesh, 1_001, 2_001)
    mesh.follows[USER] += [21, 22, 23]
    for board in (14, 22, 23):
        mesh.owners[board] = 100 + board
        mesh.boards[board] = [(board * 1_000 + at, NOW_MS - at * 60_000, 0.5) for at in range(61)]
        mesh.boards[board].append((2_001, NOW_MS - 5_000, 0.5))
    before, _ = make(feed, ask(feed=name, page_size=200))
    pin, board, owner = (int(before.items.pins[0]), int(before.items.boards[1]), int(before.items.owners[2]))
    mesh.hidden[USER] = Hidden(*(np.array([one], np.uint64) for one in (pin, board, owner)))
    after, run = make(feed, ask(feed=name, page_size=200))
    assert len(after.items)
    assert pin not in after.items.pins
    assert board not in after.items.boards
    assert owner not in after.items.owners
    assert run.complete


def test_what_is_hidden_stays_hidden_while_the_graph_is_away(feed: Feed, mesh: FakeMesh) -> None:
    mesh.hidden[USER] = Hidden(boards=np.array([1], np.uint64))
    make(feed, ask())
    mesh.down("user_graph")
    page, _ = make(feed, ask(page_size=200))
    assert page.source is Source.LAST_KNOWN
    assert 1 not in page.items.boards


def test_hidden_owner_does_not_come_back_while_objects_cannot_be_read(feed: Feed, mesh: FakeMesh) -> None:
    mesh.hidden[USER] = Hidden(owners=np.array([303], np.uint64))
    mesh.down("objects")
    page, run = make(feed, ask(feed="home"))
    assert page.items.boards.all(), "pins whose owner is unknown may be the hidden one's"
    assert status_of(run)["place"] == "missed"


def test_insertions_stand_on_the_slot_s_places_and_nowhere_twice(feed: Feed) -> None:
    slots = [{"name": "ad", "first": 2, "every": 5}]
    wanted = recipe("following", slots=slots)
    insertions = [Insertion("ad", 1_001), Insertion("ad", 77_777)]
    page, _ = make(feed, ask(wanted=wanted, insertions=insertions, page_size=10))
    pins = page.pins.tolist()
    assert len(pins) == 10
    assert (pins[1], pins[6]) == (1_001, 77_777)
    assert pins.count(1_001) == 1
    cursor = ask().cursor.after(page.pins)
    again, _ = make(feed, ask(wanted=wanted, insertions=insertions, cursor=cursor))
    assert not {1_001, 77_777} & set(again.pins.tolist()), "what was inserted once is not inserted again"


def test_hidden_insertion_is_left_out(feed: Feed, mesh: FakeMesh) -> None:
    mesh.hidden[USER] = Hidden(owners=np.array([5], np.uint64))
    wanted = recipe("following", slots=[{"name": "ad", "first": 2}])
    page, _ = make(feed, ask(wanted=wanted, insertions=[Insertion("ad", 77_777, owner=5)]))
    assert 77_777 not in page.pins


def test_recipe_of_popular_pins_is_what_it_says(feed: Feed) -> None:
    wanted = recipe("following", sources={"hot": {"name": "hot", "kind": "popular"}})
    page, run = make(feed, ask(wanted=wanted, ranking=Ranking.LIGHT_SCORE))
    assert page.items.pins.tolist()[:2] == [9_100, 9_099]
    assert page.source is Source.RECIPE
    assert run.complete
