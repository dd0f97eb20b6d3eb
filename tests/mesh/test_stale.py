"""A log that cannot be heard: feeds go on from what the views have, and say for how long they know no
more."""

from __future__ import annotations

import time

import pytest

from feedmesh.feedgen.v1 import feedgen_pb2
from tests.mesh.events import follow, new_id, new_ids, put_board, save
from tests.mesh.live import LiveMesh, log_of_this_run
from tests.mesh.views import Views, pins_of, stages_of, wait_until

pytestmark = [
    pytest.mark.mesh,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("mesh-rough"),
    pytest.mark.skipif(
        log_of_this_run().kind == "kafka", reason="freezes Ingest, where this run's log is not"
    ),
]

SILENCE_S = 9.0
"""Longer than a tail waits for a sign of life (5 s), so that streams were given up and opened in vain."""


def _feed(mesh: LiveMesh, person: int) -> feedgen_pb2.GetFeedResponse:
    return Views(mesh.connection).feed(person, dry_run=True)


def _marks(page: feedgen_pb2.GetFeedResponse) -> dict[str, int]:
    return {stage.stage: stage.stale_ms for stage in page.stages}


def test_feeds_of_a_frozen_log_are_complete_and_say_since_when_they_know_no_more(
    rough_mesh: LiveMesh,
) -> None:
    mesh = rough_mesh
    board, pins, person = new_id(), new_ids(5), new_id()
    views = Views(mesh.connection)
    views.after = mesh.connection.publish(
        [
            put_board(board, owner=new_id()),
            follow(person, board=board),
            *(save(pin, board=board, user=new_id()) for pin in pins),
        ]
    )
    before = views.feed(person, dry_run=True)
    assert set(pins_of(before)) == set(pins)
    wait_until(lambda: _feed(mesh, person).complete, "a whole feed")
    assert _feed(mesh, person).stale_ms == 0

    with mesh.frozen("ingest"):
        frozen = time.monotonic()
        grown = 0
        while time.monotonic() - frozen < SILENCE_S:
            page = _feed(mesh, person)
            assert page.complete, stages_of(page)
            assert set(pins_of(page)) == set(pins)
            silent_ms = (time.monotonic() - frozen) * 1000
            # The last sign of life was at most a second before the freeze; below the threshold no mark.
            assert page.stale_ms <= silent_ms + 1_500
            if silent_ms > 3_500:
                assert page.stale_ms >= silent_ms - 1_500
                assert page.stale_ms >= grown, "a stream that was opened in vain is no sign of life"
                assert {"graph", "seen", "retrieve"} <= {stage for stage, ms in _marks(page).items() if ms}
                grown = page.stale_ms
            time.sleep(0.1)
        assert grown > 5_000

    wait_until(lambda: _feed(mesh, person).stale_ms == 0, "an unmarked feed", timeout_s=20)
    fresh = new_id()
    views.after = mesh.connection.publish([save(fresh, board=board, user=new_id())])
    after = views.feed(person, dry_run=True)
    assert set(pins_of(after)) == {*pins, fresh}
    assert after.stale_ms == 0
