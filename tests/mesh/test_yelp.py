"""A real social graph through the whole mesh: 17,237 people of Yelp, whom they follow, what they saved.

Each person's items are that person's board. By default a part of the graph is loaded, the people who are
asked for with everyone whom they follow (30,000 events); FEEDMESH_FULL=1 loads all of it (350,000 events).
The data does not belong to the project: FEEDMESH_SHARED_DATA names its folder, and the test is skipped where
it is absent. Run with `--log-cli-level=info` to see how long it took.
"""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from feedmesh.feedgen.v1 import feedgen_pb2
from tests.mesh import events
from tests.mesh.events import Event
from tests.mesh.live import LiveMesh
from tests.mesh.views import Views, merged, pins_of, stages_of

pytestmark = [
    pytest.mark.mesh,
    pytest.mark.timeout(300),
    pytest.mark.real_data,
    pytest.mark.xdist_group("mesh-shared"),
]

# Far from the ids that other tests of the mesh use, and from each other.
USERS: Final = 10_000_000
BOARDS: Final = 20_000_000
ITEMS: Final = 30_000_000
DAY_MS: Final = 86_400_000
ASKED: Final = 150
"""People whose feeds are compared."""
PAGE: Final = 250
BATCH: Final = 1_000
IN_FLIGHT: Final = 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Yelp:
    """The graph: by person, whom they follow and what they saved. Ids are the mesh's."""

    follows: dict[int, set[int]]
    saves: dict[int, set[int]]


@pytest.fixture(scope="module")
def yelp() -> Yelp:
    folder = os.environ.get("FEEDMESH_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data"
    path = Path(folder) / "yelp-social.npz"
    if not path.exists():
        pytest.skip(f"no yelp-social.npz in {folder}; FEEDMESH_SHARED_DATA names the folder")
    follows: dict[int, set[int]] = defaultdict(set)
    saves: dict[int, set[int]] = defaultdict(set)
    with np.load(path) as arrays:
        for person, other in arrays["follows"].tolist():
            follows[USERS + person].add(USERS + other)
        for person, item in arrays["train"].tolist():
            saves[USERS + person].add(ITEMS + item)
    return Yelp(follows, saves)


@pytest.fixture(scope="module")
def asked(yelp: Yelp) -> list[int]:
    """People who follow somebody, drawn by chance, and the one who follows most."""
    people = sorted(yelp.follows)
    drawn = np.random.default_rng(1).choice(people, ASKED - 1, replace=False).tolist()
    return sorted({*drawn, max(people, key=lambda person: len(yelp.follows[person]))})


@pytest.fixture(scope="module")
def loaded(session_mesh: LiveMesh, yelp: Yelp, asked: list[int]) -> bytes:
    """The token of the whole load."""
    session_mesh.wait_ready()
    if os.environ.get("FEEDMESH_FULL") == "1":
        followers, members = set(yelp.follows), set(yelp.follows) | set(yelp.saves)
    else:
        followers = set(asked)
        members = followers | {other for person in asked for other in yelp.follows[person]}
    began = time.monotonic()
    token, count = publish(session_mesh, stream(yelp, sorted(members), followers))
    seconds = time.monotonic() - began
    _log.info("%d events of %d people published in %.1f s", count, len(members), seconds)
    return token


def stream(yelp: Yelp, members: list[int], followers: set[int]) -> Iterator[Event]:
    """Boards, follows, then saves spread over the last 60 days."""
    for person in members:
        yield events.put_board(board_of(person), owner=person)
    for person in members:
        if person in followers:
            for other in sorted(yelp.follows[person]):
                yield events.follow_user(person, other)
    draw = np.random.default_rng(2)
    now_ms = int(time.time() * 1000)
    for person in members:
        for item in sorted(yelp.saves[person]):
            saved_ms = now_ms - int(draw.integers(1, 60 * DAY_MS))
            yield events.save(item, board=board_of(person), user=person, time_ms=saved_ms)


def publish(mesh: LiveMesh, stream: Iterator[Event]) -> tuple[bytes, int]:
    """Publish everything, a few requests at a time; the token of it all, and the number of events."""
    pending: deque[Any] = deque()
    token, count = b"", 0
    batch: list[Event] = []
    with mesh.connect() as connection:
        for event in stream:
            batch.append(event)
            if len(batch) == BATCH:
                if len(pending) == IN_FLIGHT:
                    token = _with(token, pending.popleft())
                pending.append(connection.start_publish(batch, timeout_s=30))
                count += len(batch)
                batch = []
        pending.append(connection.start_publish(batch, timeout_s=30))
        count += len(batch)
        while pending:
            token = _with(token, pending.popleft())
    return token, count


def _with(token: bytes, pending: Any) -> bytes:
    fresh: bytes = pending.result().token
    return merged(token, fresh) if token else fresh


def board_of(person: int) -> int:
    """A person's one board."""
    return person - USERS + BOARDS


def test_feeds_are_items_of_people_who_are_followed(
    mesh: LiveMesh, loaded: bytes, yelp: Yelp, asked: list[int]
) -> None:
    views = Views(mesh.connection, after=loaded)
    # Once with a wait: from here on every replica has applied the load.
    began = time.monotonic()
    views.followed_boards(asked[0]), views.pins(board_of(asked[0])), views.seen(asked[0])
    views.signal(asked[0], "recent_pins")
    _log.info("the views had it all %.1f s later", time.monotonic() - began)
    shown_count = expected_count = 0
    for ranking in (feedgen_pb2.RANKING_NEWEST, feedgen_pb2.RANKING_LIGHT_SCORE):
        for person in asked:
            page = views.feed(person, page_size=PAGE, dry_run=True, ranking=ranking)
            assert page.complete, (person, stages_of(page))
            candidates = set().union(*(yelp.saves[other] for other in yelp.follows[person]))
            unseen = candidates - yelp.saves[person]
            if not candidates:
                # Everybody whom they follow has saved nothing.
                assert not page.items
                continue
            assert page.source == feedgen_pb2.FEED_SOURCE_RECIPE
            for item in page.items:
                assert item.owner in yelp.follows[person], "the owner is not followed"
                assert item.board == board_of(item.owner), "the board is not the owner's"
                assert item.pin in yelp.saves[item.owner], "the item is not on that board"
                assert item.reason
            pins = pins_of(page)
            assert len(pins) == len(set(pins))
            assert set(pins) <= unseen, "an item that the person saved came back"
            expected_count += min(len(unseen), PAGE)
            shown_count += len(pins)
    # The seen filter may hide 0.5% of the unseen.
    assert shown_count >= 0.99 * expected_count
    _log.info("%d items shown of %d", shown_count, expected_count)


def test_follows_and_saves_are_what_was_loaded(
    mesh: LiveMesh, loaded: bytes, yelp: Yelp, asked: list[int]
) -> None:
    views = Views(mesh.connection, after=loaded)
    for person in asked:
        assert views.following("user", person) == (yelp.follows[person], len(yelp.follows[person]))
        assert views.pins(board_of(person)) == (yelp.saves[person], len(yelp.saves[person]))
        assert views.followed_boards(person) == sorted(board_of(other) for other in yelp.follows[person])
