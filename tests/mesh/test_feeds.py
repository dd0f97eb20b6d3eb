"""The four feeds over real processes: interests, walks over a graph of the mesh's own log, hides,
experiments."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from feedmesh.feedgen.v1 import feedgen_pb2
from feedmesh.log.v1 import event_pb2
from feedmesh.type.v1 import type_pb2
from services.cli.pixie.serving import answering
from tests.mesh.commands import feedmesh
from tests.mesh.events import Event, action, event, follow, new_id, new_ids, put_board, put_pin, save
from tests.mesh.live import LiveMesh
from tests.mesh.views import Views, merged, pins_of, stages_of, wait_until

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300), pytest.mark.xdist_group("mesh-shared")]
FEEDS = ("following", "interest", "picked_for_you", "home")


class World:
    """A person who follows a board and an interest; a pin of that board is on a board that they do not
    follow."""

    def __init__(self, views: Views) -> None:
        self.views = views
        self.person, self.interest = new_id(), new_id()
        self.followed, self.near = new_id(), new_id()
        self.owners = {self.followed: new_id(), self.near: new_id()}
        self.shared, *self.followed_pins = new_ids(12)
        self.near_pins, self.interest_pins = new_ids(10), new_ids(10)
        self.interest_owner = new_id()
        events = [
            *(put_board(board, owner=owner) for board, owner in self.owners.items()),
            *self._saves(self.followed, [self.shared, *self.followed_pins]),
            *self._saves(self.near, [self.shared, *self.near_pins]),
            *(put_pin(pin, board=self.near, owner=self.owners[self.near]) for pin in self.near_pins),
            *(put_interests(pin, self.interest) for pin in self.interest_pins),
            *(put_pin(pin, board=new_id(), owner=self.interest_owner) for pin in self.interest_pins),
            follow(self.person, board=self.followed),
            follow(self.person, interest=self.interest),
        ]
        views.after = views.connection.publish(events)

    def _saves(self, board: int, pins: list[int]) -> list[Event]:
        return [save(pin, board=board, user=self.owners[board]) for pin in pins]

    def do(self, *events: Event) -> None:
        """Publish; later reads see it."""
        self.views.after = merged(self.views.after, self.views.connection.publish(events))

    def page(self, feed: str) -> feedgen_pb2.GetFeedResponse:
        """A page of all that there is, not counted as served."""
        page = self.views.feed(self.person, feed=feed, dry_run=True, page_size=50)
        assert page.complete, stages_of(page)
        return page


def put_interests(pin: int, *interests: int) -> Event:
    """A pin is put into interests."""
    return event(put_pin_interests=event_pb2.PutPinInterests(pin=pin, interests=interests))


def hide(user: int, kind: type_pb2.ObjectKind.ValueType, id: int, *, undo: bool = False) -> Event:
    """`user` hides something, or takes it back."""
    return event(hide=event_pb2.Hide(user=user, kind=kind, id=id, undo=undo))


def basis(page: feedgen_pb2.GetFeedResponse, source: str) -> str:
    """What a source was made from."""
    return next(one.basis for one in page.sources if one.source == source)


@pytest.fixture
def world(mesh: LiveMesh, views: Views) -> World:
    """The world, and a graph of the mesh's own log that has it."""
    made = World(views)
    feedmesh("pixie", "build", "--data-dir", mesh.layout.data_dir)
    newest = sorted(folder.name for folder in mesh.layout.graphs_dir.iterdir())[-1]
    wait_until(
        lambda: any(one.version == newest for one in answering(mesh.layout.data_dir)), f"graph {newest}"
    )
    return made


def test_four_feeds_differ_and_say_why(world: World) -> None:
    world.do(action(world.person, world.shared, type_pb2.ACTION_TYPE_CLOSEUP))
    following, interest, picked, home = (world.page(feed) for feed in FEEDS)
    assert set(pins_of(following)) == set(world.followed_pins)
    assert set(pins_of(interest)) == set(world.interest_pins)
    assert set(pins_of(picked)) == set(world.near_pins)
    assert set(pins_of(home)) == {*world.followed_pins, *world.interest_pins, *world.near_pins}
    assert len(pins_of(home)) == len(set(pins_of(home)))
    assert {item.source for item in home.items} == {"following", "interests", "picked"}
    assert all(item.reason for page in (following, interest, picked, home) for item in page.items)
    assert {led.pin for item in picked.items for led in item.led_from} == {world.shared}


def test_an_action_changes_picked_for_you_on_the_next_request(world: World) -> None:
    before = world.page("picked_for_you")
    assert basis(before, "picked") == "followed_boards"
    world.do(action(world.person, world.shared, type_pb2.ACTION_TYPE_CLICK))
    assert basis(world.page("picked_for_you"), "picked") == "recent_pins"


def test_who_follows_and_owns_nothing_gets_popular_pins_in_every_feed(world: World) -> None:
    nobody = new_id()
    for feed in FEEDS:
        page = world.views.feed(nobody, feed=feed, dry_run=True)
        assert page.source == feedgen_pb2.FEED_SOURCE_POPULAR_COLD_START, feed
        assert page.complete


def test_hidden_pins_boards_and_owners_are_gone_from_the_next_page_on(world: World) -> None:
    world.do(action(world.person, world.shared, type_pb2.ACTION_TYPE_CLOSEUP))
    pin = world.followed_pins[0]
    world.do(
        hide(world.person, type_pb2.OBJECT_KIND_PIN, pin),
        hide(world.person, type_pb2.OBJECT_KIND_BOARD, world.near),
        hide(world.person, type_pb2.OBJECT_KIND_USER, world.interest_owner),
    )
    home = world.page("home")
    assert set(pins_of(home)) == set(world.followed_pins[1:])
    assert not set(pins_of(world.page("picked_for_you"))) & set(world.near_pins)
    assert not pins_of(world.page("interest"))
    world.do(
        hide(world.person, type_pb2.OBJECT_KIND_BOARD, world.near, undo=True),
        hide(world.person, type_pb2.OBJECT_KIND_USER, world.interest_owner, undo=True),
    )
    # A pin that was hidden was seen; it does not come back.
    assert set(pins_of(world.page("home"))) == {
        *world.followed_pins[1:],
        *world.interest_pins,
        *world.near_pins,
    }


WIDE = """
[[experiment]]
name = "gaps"
dial = {dial}
feeds = ["home"]
[[experiment.arm]]
name = "wide"
[experiment.arm.set]
select.board_gap = {gap}
"""


@pytest.fixture
def no_experiments_after(mesh: LiveMesh) -> Iterator[None]:
    """The file as it was."""
    before = mesh.layout.experiments_path.read_text()
    yield
    mesh.layout.experiments_path.write_text(before)


@pytest.mark.usefixtures("no_experiments_after")
def test_experiments_apply_and_end_by_one_edit_each_without_a_restart(mesh: LiveMesh, world: World) -> None:
    def arms() -> list[tuple[str, str]]:
        return [(arm.experiment, arm.arm) for arm in world.page("home").arms]

    def wrote(text: str) -> None:
        mesh.layout.experiments_path.write_text(text)

    pid = mesh.pid("feedgen")
    assert not arms()
    wrote(WIDE.format(dial=100, gap=9))
    wait_until(lambda: arms() == [("gaps", "wide")], "the experiment begins")
    wrote(WIDE.format(dial=100, gap=0))
    wait_until(lambda: "experiments refused, the old ones stay" in mesh.said("feedgen"), "the refusal")
    assert arms() == [("gaps", "wide")]
    wrote(WIDE.format(dial=0, gap=9))
    wait_until(lambda: not arms(), "the experiment ends")
    assert mesh.pid("feedgen") == pid
