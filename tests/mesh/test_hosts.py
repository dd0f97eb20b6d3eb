"""Several hosts of a service are one service: the same feeds, and a part of them when one host is away."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from feedmesh.feedgen.v1 import feedgen_pb2
from feedmesh.polaris.v1 import polaris_pb2
from services.chassis.errors import WrongShard
from services.chassis.ids import shard_of
from services.cli.mesh.layout import NUM_SHARDS
from tests.mesh import events
from tests.mesh.events import Event, new_ids
from tests.mesh.live import LiveMesh, live_mesh
from tests.mesh.views import LIST_PINS, Views, pins_of, stages_of, wait_until

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300), pytest.mark.xdist_group("mesh-shared")]

NOW_MS_STEP = 7_000
"""Between two saves, so that no two have the same second, and newest first is one order."""


@pytest.fixture(scope="module")
def wide_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMesh]:
    """Two hosts each of the services that a feed fans out to."""
    hosts = {"polaris": 2, "apiary": 2, "scorpion": 2}
    with live_mesh(tmp_path_factory.mktemp("wide"), hosts=hosts) as mesh:
        yield mesh


@dataclass(frozen=True)
class World:
    """People, whom they follow, and what was saved."""

    people: list[int]
    owners: list[int]
    boards: dict[int, int]
    """Board by owner."""
    pins: dict[int, set[int]]
    """Pins by board."""
    followed: dict[int, list[int]]
    """Owners by person."""


@pytest.fixture(scope="module")
def world(wide_mesh: LiveMesh, session_mesh: LiveMesh) -> tuple[World, Views, Views]:
    """The same events in both meshes; reads of the wide one and of the one with single hosts."""
    made, stream = make_world()
    session_mesh.wait_ready()
    views = []
    for mesh in (wide_mesh, session_mesh):
        view = Views(mesh.connection)
        view.after = view.connection.publish(stream)
        views.append(view)
    return made, views[0], views[1]


def make_world() -> tuple[World, list[Event]]:
    draw = random.Random(5)
    people, owners = new_ids(12), new_ids(40)
    boards = dict(zip(owners, new_ids(40), strict=True))
    saver = new_ids(1)[0]
    stream = [events.put_board(board, owner=owner) for owner, board in boards.items()]
    followed = {person: draw.sample(owners, 12) for person in people}
    for person, others in followed.items():
        stream += [events.follow_user(person, other) for other in others[:8]]
        stream += [
            events.follow(person, board=boards[other], affinity=draw.uniform(0.3, 1.0))
            for other in others[8:]
        ]
    pins: dict[int, set[int]] = {board: set() for board in boards.values()}
    saved_ms = 0
    for board, of_board in pins.items():
        for pin in new_ids(8):
            saved_ms += NOW_MS_STEP
            of_board.add(pin)
            stream.append(
                events.save(
                    pin,
                    board=board,
                    user=saver,
                    quality=draw.uniform(0.1, 1.0),
                    time_ms=events.now_ms() - saved_ms,
                )
            )
    return World(people, owners, boards, pins, followed), stream


def whole_page(
    view: Views, person: int, ranking: feedgen_pb2.Ranking.ValueType
) -> feedgen_pb2.GetFeedResponse:
    """A page of which every stage was complete: on busy cores one may be missed, as the contract allows."""
    pages: list[feedgen_pb2.GetFeedResponse] = []

    def is_complete() -> bool:
        pages.append(view.feed(person, page_size=100, dry_run=True, ranking=ranking))
        return pages[-1].complete

    wait_until(is_complete, "a page with every stage complete")
    return pages[-1]


def host_of(service_mesh: LiveMesh, service: str, id: int) -> str:
    """The process that serves an id."""
    shard = shard_of(id, num_shards=NUM_SHARDS)
    (name,) = [
        process.name
        for process in service_mesh.layout.processes
        if process.service == service and shard in process.shards
    ]
    return name


@pytest.mark.parametrize(
    "ranking", [feedgen_pb2.RANKING_NEWEST, feedgen_pb2.RANKING_LIGHT_SCORE], ids=["newest", "light"]
)
def test_two_hosts_answer_the_same_feed_as_one(
    world: tuple[World, Views, Views], ranking: feedgen_pb2.Ranking.ValueType
) -> None:
    made, wide, single = world
    for person in made.people:
        pages = [whole_page(view, person, ranking) for view in (wide, single)]
        for page in pages:
            assert len(page.items) == 96
        seen = [[(i.pin, i.board, i.owner, i.saved_ms, i.reason) for i in page.items] for page in pages]
        assert seen[0] == seen[1]
        light = [np.array([item.light_score for item in page.items]) for page in pages]
        # The two pages are made some milliseconds apart, and light scores decay meanwhile.
        assert np.allclose(light[0], light[1], rtol=1e-3)


def test_two_hosts_page_through_the_same_pins_as_one(world: tuple[World, Views, Views]) -> None:
    made, wide, single = world
    person = made.people[0]
    orders = []
    for view in (wide, single):
        cursor, order = b"", []
        for _ in range(10):
            page = view.feed(person, page_size=10, dry_run=True, cursor=cursor)
            order += pins_of(page)
            cursor = page.cursor
        orders.append(order)
    assert orders[0] == orders[1]
    assert len(set(orders[0])) == 96


def test_model_ranks_the_candidates_of_all_hosts(world: tuple[World, Views, Views]) -> None:
    made, wide, single = world
    for person in made.people[:4]:
        pages = [whole_page(view, person, feedgen_pb2.RANKING_MODEL) for view in (wide, single)]
        assert all(page.model for page in pages)
        assert set(pins_of(pages[0])) == set(pins_of(pages[1]))


def test_host_refuses_boards_of_the_other(wide_mesh: LiveMesh, world: tuple[World, Views, Views]) -> None:
    made, wide, _ = world
    board = next(b for b in made.pins if host_of(wide_mesh, "polaris", b) == "polaris-2")
    with pytest.raises(WrongShard):
        wide.connection.channels.call(
            wide_mesh.process("polaris").address,
            LIST_PINS,
            polaris_pb2.ListPinsRequest(board=board),
            timeout_s=5.0,
        )


def test_feed_without_one_of_two_polaris_hosts_is_the_others_part_and_says_so(
    wide_mesh: LiveMesh, world: tuple[World, Views, Views]
) -> None:
    made, wide, _ = world
    person = made.people[1]
    boards = {made.boards[owner] for owner in made.followed[person]}
    here = {board for board in boards if host_of(wide_mesh, "polaris", board) == "polaris"}
    assert here
    assert here != boards
    killed = wide_mesh.kill("polaris-2")
    page = wide.feed(person, page_size=100, dry_run=True)
    assert not page.complete
    assert stages_of(page)["retrieve"] == "partial"
    assert page.source == feedgen_pb2.FEED_SOURCE_RECIPE
    assert set(pins_of(page)) == set().union(*(made.pins[board] for board in here))
    wide_mesh.wait_restarted("polaris-2", killed)
    wait_until(lambda: len(wide.feed(person, page_size=100, dry_run=True).items) == 96, "a whole feed")


def test_feed_without_one_of_two_apiary_hosts_has_the_boards_of_the_other(
    wide_mesh: LiveMesh, world: tuple[World, Views, Views]
) -> None:
    made, wide, _ = world
    person = next(p for p in made.people if host_of(wide_mesh, "apiary", p) == "apiary")
    owners = made.followed[person]
    # Boards followed directly are the person's own edges; those of owners are where their owner is.
    there = owners[8:] + [owner for owner in owners[:8] if host_of(wide_mesh, "apiary", owner) == "apiary"]
    assert len(there) < len(owners)
    killed = wide_mesh.kill("apiary-2")
    page = wide.feed(person, page_size=100, dry_run=True)
    assert not page.complete
    assert stages_of(page)["graph"] == "partial"
    assert set(pins_of(page)) == set().union(*(made.pins[made.boards[owner]] for owner in there))
    wide_mesh.wait_restarted("apiary-2", killed)
    wait_until(lambda: wide.feed(person, dry_run=True).complete, "a whole feed")


def test_feed_without_one_of_two_scorpion_hosts_is_scored_in_part(
    wide_mesh: LiveMesh, world: tuple[World, Views, Views]
) -> None:
    made, wide, _ = world
    person = made.people[2]
    whole = wide.feed(person, page_size=100, dry_run=True, ranking=feedgen_pb2.RANKING_MODEL)
    killed = wide_mesh.kill("scorpion-2")
    page = wide.feed(person, page_size=100, dry_run=True, ranking=feedgen_pb2.RANKING_MODEL)
    assert not page.complete
    assert stages_of(page)["score"] == "partial"
    assert page.model == whole.model
    assert set(pins_of(page)) == set(pins_of(whole))
    wide_mesh.wait_restarted("scorpion-2", killed)
    wait_until(
        lambda: wide.feed(person, dry_run=True, ranking=feedgen_pb2.RANKING_MODEL).complete, "a whole feed"
    )


def test_every_process_ends_with_exit_code_zero(wide_mesh: LiveMesh) -> None:
    # The last test of the file: the mesh is not started again.
    wide_mesh.wait_ready()
    wide_mesh.stop_all()
    assert {name: wide_mesh.exit_code(name) for name in wide_mesh.names} == dict.fromkeys(wide_mesh.names, 0)
