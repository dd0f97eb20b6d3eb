"""kill -9 of any process, at any moment, under publishing load.

Two clients publish and one asks for feeds; the process is killed at a moment of chance, and once more while
it starts again. Then the views are compared with what the clients were told is durable, and the feeds with
what a feed promises: an answer always, marked when something was missing, whole again afterwards.
"""

from __future__ import annotations

import random
import time

import pytest

from feedmesh.feedgen.v1 import feedgen_pb2
from services.chassis.errors import Unavailable
from tests.mesh import events
from tests.mesh.events import new_id
from tests.mesh.feed_reader import FeedReader
from tests.mesh.ledger import Publisher, check
from tests.mesh.live import LiveMesh
from tests.mesh.views import Views, merged, pins_of, stages_of, wait_until

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300), pytest.mark.xdist_group("mesh-rough")]

MARKED = {
    "apiary": "graph",
    "polaris": "retrieve",
    "aperture": "seen",
    "realpin": "signals",
    "rockstore": "display",
    "scorpion": "score",
    "counter": "score",
}
"""The stage that misses what the process gives. Ingest is no part of a feed, nor is Pixie of one of followed
boards; the FeedGenerator is all of it."""


@pytest.mark.parametrize("name", [*MARKED, "ingest", "pixie", "feedgen"])
def test_no_acknowledged_event_is_lost_or_counted_twice(rough_mesh: LiveMesh, name: str) -> None:
    mesh = rough_mesh
    chance = random.Random(name)
    publishers = [Publisher(mesh.connect(), seed=seed) for seed in (1, 2)]
    boards = [board for publisher in publishers for board in publisher.boards]
    person = new_id()
    follows = mesh.connection.publish([events.follow(person, board=board) for board in boards])
    reader = FeedReader(mesh.connect(), person)
    try:
        for publisher in publishers:
            publisher.start()
        _wait_for_events(publishers, 200)
        wait_until(lambda: _whole(mesh, person), "a whole feed before the kill")
        reader.start()
        time.sleep(chance.uniform(0.2, 0.6))
        killed = time.monotonic()
        first = mesh.kill(name)
        wait_until(lambda: mesh.pid(name) not in (0, first), f"another {name}")
        time.sleep(chance.uniform(0.0, 1.0))
        mesh.wait_restarted(name, mesh.kill(name))
        restarted = time.monotonic()
        _wait_for_events(publishers, 200)
        wait_until(lambda: _whole(mesh, person), "a whole feed after the restart")
    finally:
        reader.stop()
        ledgers = [publisher.stop() for publisher in publishers]

    views = Views(mesh.connection)
    for publisher, ledger in zip(publishers, ledgers, strict=True):
        assert publisher.again > 0, "no acknowledged batch was sent again; the test shows less than it says"
        check(views, ledger, publisher.boards, publisher.users, reader=person)
    if name == "ingest":
        assert sum(publisher.retries for publisher in publishers) > 0
    _check_feeds(name, reader, killed=killed, restarted=restarted)

    views.after = merged(follows, *(ledger.token for ledger in ledgers))
    page = views.feed(person, page_size=250, dry_run=True)
    assert page.complete, stages_of(page)
    assert set(pins_of(page)) == {pin for ledger in ledgers for pins in ledger.pins.values() for pin in pins}


def test_kill_of_everything_at_once_loses_nothing(rough_mesh: LiveMesh) -> None:
    mesh = rough_mesh
    publishers = [Publisher(mesh.connect(), seed=seed) for seed in (3, 4)]
    try:
        for publisher in publishers:
            publisher.start()
        _wait_for_events(publishers, 200)
        killed = {name: mesh.kill(name) for name in mesh.names}
        for name, pid in killed.items():
            mesh.wait_restarted(name, pid)
        _wait_for_events(publishers, 200)
    finally:
        ledgers = [publisher.stop() for publisher in publishers]
    for publisher, ledger in zip(publishers, ledgers, strict=True):
        assert publisher.retries > 0
        check(Views(mesh.connection), ledger, publisher.boards, publisher.users)


def _wait_for_events(publishers: list[Publisher], count: int) -> None:
    """Wait until each publisher had so many more events acknowledged."""
    targets = [publisher.ledger.events + count for publisher in publishers]
    wait_until(
        lambda: all(p.ledger.events >= target for p, target in zip(publishers, targets, strict=True)),
        f"{count} more acknowledged events",
        timeout_s=100,
    )


def _whole(mesh: LiveMesh, person: int) -> bool:
    try:
        page = Views(mesh.connection).feed(person, dry_run=True, ranking=feedgen_pb2.RANKING_MODEL)
    except Unavailable:
        return False
    return page.complete


def _check_feeds(name: str, reader: FeedReader, *, killed: float, restarted: float) -> None:
    """The feed kept answering, and said what was missing."""
    outage = [asked for asked in reader.asked if asked.began >= killed and asked.ended <= restarted]
    if name == "feedgen":
        # The client's own retries may fill the whole outage, or even bridge it.
        assert all(isinstance(a.error, Unavailable) for a in reader.asked if a.error is not None)
        assert reader.asked[-1].error is None
        return
    assert len(outage) >= 2, "hardly any feed was asked for during the outage"
    failed = [asked.error for asked in reader.asked if asked.error is not None]
    assert not failed, failed[0]
    assert all(asked.item_count == 10 for asked in reader.asked)
    if name not in MARKED:
        assert all(asked.complete for asked in reader.asked)
        return
    marked = [asked for asked in outage if not asked.complete]
    assert marked, "no feed of the outage was marked incomplete"
    assert any(dict(asked.stages)[MARKED[name]] in ("partial", "missed") for asked in marked)
