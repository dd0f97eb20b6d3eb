"""What was written a moment ago is in the feed, and what was shown does not come again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest

from feedmesh.feedgen.v1 import feedgen_pb2
from feedmesh.type.v1 import type_pb2
from tests.mesh.events import (
    action,
    event,
    follow,
    follow_user,
    impressions,
    new_id,
    new_ids,
    put_board,
    put_pin,
    remove,
    save,
    unfollow,
)
from tests.mesh.live import LiveMesh
from tests.mesh.views import Views, merged, pins_of, stages_of, wait_until

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300), pytest.mark.xdist_group("mesh-shared")]


def a_board(views: Views, pin_count: int, *, owner: int = 0) -> tuple[int, list[int], bytes]:
    """A board with pins: its id, the pins, the token of it all."""
    board, pins = new_id(), new_ids(pin_count)
    owner = owner or new_id()
    events = [put_board(board, owner=owner), *(save(pin, board=board, user=owner) for pin in pins)]
    return board, pins, views.connection.publish(events)


def test_new_person_gets_the_pins_of_a_board_followed_a_moment_ago(views: Views) -> None:
    board, pins, _ = a_board(views, 12)
    person = new_id()
    views.after = views.connection.publish([follow(person, board=board)])
    page = views.feed(person)
    assert set(pins_of(page)) == set(pins)
    assert page.complete, stages_of(page)
    assert page.source == feedgen_pb2.FEED_SOURCE_RECIPE


def test_saves_by_others_a_moment_ago_are_there(views: Views) -> None:
    board, pins, _ = a_board(views, 3)
    person, other, fresh = new_id(), new_id(), new_id()
    views.connection.publish([follow(person, board=board)])
    views.after = views.connection.publish([save(fresh, board=board, user=other)])
    page = views.feed(person)
    # The token is the saver's and says nothing of the follow, which may be a moment later.
    wait_until(lambda: set(pins_of(views.feed(person, dry_run=True))) <= {*pins, fresh}, "the follow")
    assert fresh in pins_of(page) or fresh in pins_of(views.feed(person))


def test_saves_by_others_come_without_any_token_within_moments(views: Views) -> None:
    board, _, token = a_board(views, 3)
    person, fresh = new_id(), new_id()
    views.after = merged(token, views.connection.publish([follow(person, board=board)]))
    views.feed(person, dry_run=True)
    views.after = b""
    views.connection.publish([save(fresh, board=board, user=new_id())])
    wait_until(lambda: fresh in pins_of(views.feed(person, dry_run=True)), "the other's save", timeout_s=5)


def test_all_rankings_show_the_same_new_pins(views: Views) -> None:
    board, pins, token = a_board(views, 8)
    person = new_id()
    views.after = merged(token, views.connection.publish([follow(person, board=board)]))
    for ranking in (
        feedgen_pb2.RANKING_MODEL,
        feedgen_pb2.RANKING_LIGHT_SCORE,
        feedgen_pb2.RANKING_NEWEST,
    ):
        page = views.feed(person, ranking=ranking, dry_run=True)
        assert page.complete, stages_of(page)
        assert set(pins_of(page)) == set(pins)
        assert bool(page.model) == (ranking == feedgen_pb2.RANKING_MODEL)


def test_display_is_what_was_published(views: Views) -> None:
    owner, board, pin, person = new_ids(4)
    views.after = views.connection.publish(
        [
            put_board(board, owner=owner, title="Lamps"),
            put_pin(pin, title="A lamp of brass", board=board, owner=owner),
            event(put_object={"id": owner, "user": type_pb2.User(name="Ada")}),
            save(pin, board=board, user=owner),
            follow_user(person, owner),
        ]
    )
    (item,) = views.feed(person, display_mask={"paths": ["*"]}).items
    assert (item.pin, item.board, item.owner) == (pin, board, owner)
    assert item.display.title == "A lamp of brass"
    assert item.display.board_title == "Lamps"
    assert item.display.owner_name == "Ada"
    assert "Ada" in item.reason


def test_pin_that_was_removed_does_not_come(views: Views) -> None:
    board, pins, token = a_board(views, 5)
    person = new_id()
    views.after = merged(
        token,
        views.connection.publish([follow(person, board=board), remove(pins[0], board=board, user=person)]),
    )
    assert set(pins_of(views.feed(person))) == set(pins[1:])


def test_pins_that_the_frontend_showed_do_not_come_again(views: Views) -> None:
    board, pins, token = a_board(views, 30)
    person = new_id()
    acted, shown, hidden = pins[0], pins[1:10], pins[10]
    views.after = merged(
        token,
        views.connection.publish(
            [
                follow(person, board=board),
                impressions(person, shown),
                action(person, acted, type_pb2.ACTION_TYPE_CLICK),
                event(hide={"user": person, "kind": type_pb2.OBJECT_KIND_PIN, "id": hidden}),
            ]
        ),
    )
    got = set(pins_of(views.feed(person, page_size=30)))
    assert not got & {acted, hidden, *shown}
    # The seen filter may hide an unseen pin: 0.5% of them, so one of 19 at most here.
    assert len(set(pins[11:]) - got) <= 1


def test_pins_that_were_served_do_not_come_in_a_new_session(views: Views) -> None:
    board, pins, token = a_board(views, 40)
    person = new_id()
    views.after = merged(token, views.connection.publish([follow(person, board=board)]))
    first = pins_of(views.feed(person, page_size=15))
    views.after = b""
    wait_until(lambda: views.seen(person) >= set(first), "served pins in Aperture")
    second = pins_of(views.feed(person, page_size=40))
    assert not set(first) & set(second)
    assert set(first) | set(second) <= set(pins)
    assert len(second) >= 23, "hardly any unseen pin is held back"


def _up(mesh: LiveMesh) -> AbstractContextManager[None]:
    return nullcontext()


def _slow(mesh: LiveMesh) -> AbstractContextManager[None]:
    return mesh.frozen("aperture")


def _stopped(mesh: LiveMesh) -> AbstractContextManager[None]:
    return mesh.stopped("aperture")


@pytest.mark.parametrize(
    ("aperture", "complete"),
    [
        pytest.param(_up, True, id="aperture-up"),
        pytest.param(_slow, False, id="aperture-hanging"),
        pytest.param(_stopped, False, id="aperture-stopped"),
    ],
)
def test_no_pin_comes_twice_over_twenty_pages_while_pins_are_added(
    mesh: LiveMesh,
    views: Views,
    aperture: Callable[[LiveMesh], AbstractContextManager[None]],
    complete: bool,
) -> None:
    board, pins, token = a_board(views, 250)
    person = new_id()
    token = merged(token, views.connection.publish([follow(person, board=board)]))
    views.after = token
    views.feed(person, page_size=1, dry_run=True)
    views.after = b""
    served: list[int] = []
    added: dict[int, int] = {}
    cursor = b""
    with aperture(mesh):
        for _ in range(20):
            more = new_ids(4)
            saved_s = int(time.time())
            views.connection.publish([save(pin, board=board, user=person) for pin in more])
            added.update(dict.fromkeys(more, saved_s))
            page = views.feed(person, page_size=10, cursor=cursor)
            assert page.complete == complete, stages_of(page)
            if not complete:
                assert stages_of(page)["seen"] == "missed"
            assert len(page.items) == 10
            served += pins_of(page)
            cursor = page.cursor
    assert len(served) == len(set(served)) == 200
    # Pins added after the session began wait for the next one. Polaris knows times in seconds.
    session_s = page.session_ms // 1000
    assert set(served) <= {*pins, *(pin for pin, saved_s in added.items() if saved_s <= session_s)}


def test_followed_user_makes_a_new_board_and_its_pins_come(views: Views) -> None:
    owner, person = new_ids(2)
    old, old_pins, token = a_board(views, 4, owner=owner)
    views.after = merged(token, views.connection.publish([follow_user(person, owner)]))
    assert set(pins_of(views.feed(person, dry_run=True))) == set(old_pins)
    _, fresh_pins, views.after = a_board(views, 4, owner=owner)
    assert set(pins_of(views.feed(person, dry_run=True))) == {*old_pins, *fresh_pins}
    assert old in views.followed_boards(person)


def test_unfollowed_board_of_a_followed_user_stays_away_after_a_restart(mesh: LiveMesh, views: Views) -> None:
    owner, person = new_ids(2)
    kept, kept_pins, first = a_board(views, 4, owner=owner)
    left, left_pins, second = a_board(views, 4, owner=owner)
    token = views.connection.publish([follow_user(person, owner)])
    views.after = merged(first, second, token)
    assert set(pins_of(views.feed(person, dry_run=True))) == {*kept_pins, *left_pins}
    views.after = merged(views.after, views.connection.publish([unfollow(person, board=left)]))
    assert set(pins_of(views.feed(person, dry_run=True))) == set(kept_pins)
    killed = {name: mesh.kill(name) for name in ("apiary", "polaris")}
    for name, pid in killed.items():
        mesh.wait_restarted(name, pid)
    assert set(pins_of(_whole(views, person))) == set(kept_pins)
    assert views.followed_boards(person) == [kept]
    views.after = views.connection.publish([save(new_id(), board=left, user=owner)])
    assert set(pins_of(_whole(views, person))) == set(kept_pins)


def _whole(views: Views, person: int) -> feedgen_pb2.GetFeedResponse:
    """The first complete page: a restarted host is asked again within a second or two."""
    until = time.monotonic() + 10
    page = views.feed(person, dry_run=True)
    while not page.complete:
        assert time.monotonic() < until, stages_of(page)
        time.sleep(0.05)
        page = views.feed(person, dry_run=True)
    return page


def test_explanation_has_the_funnel_and_every_call_that_was_made(views: Views) -> None:
    board, pins, _ = a_board(views, 5)
    person = new_id()
    views.after = views.connection.publish([follow(person, board=board)])
    page = views.feed(person, explain=True, dry_run=True, ranking=feedgen_pb2.RANKING_MODEL)
    calls = {call.call.rpartition("/")[2]: call for call in page.explain.calls}
    assert {"GetUserGraph", "GetSeen", "GetSignals", "Retrieve"} <= set(calls)
    assert all(call.host and call.elapsed_us > 0 for call in calls.values())
    assert calls["Retrieve"].start_us >= calls["GetUserGraph"].start_us
    assert calls["Retrieve"].status == "OK"
    steps = {(step.stage, step.reason): step.count for step in page.explain.funnel}
    assert steps["graph", "followed_boards"] == 1
    assert steps["select", "kept"] == len(pins)
