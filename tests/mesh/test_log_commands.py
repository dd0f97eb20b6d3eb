"""`feedmesh log` on a mesh that runs, whichever log it has."""

from __future__ import annotations

import json

import pytest

from feedmesh.log.v1 import log_pb2, record_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.log.log import DEAD_LETTERS
from services.chassis.rpc.method import Method
from services.cli.log.opening import opened_log
from services.cli.log.reading import read_to_end
from services.cli.mesh.layout import FOLLOWING
from tests.mesh import events
from tests.mesh.commands import documents, feedmesh
from tests.mesh.events import new_id, new_ids
from tests.mesh.live import LiveMesh
from tests.mesh.views import Views, wait_until

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300), pytest.mark.xdist_group("mesh-shared")]

APPEND = Method(
    "/feedmesh.log.v1.LogService/AppendDeadLetter",
    log_pb2.AppendDeadLetterRequest,
    log_pb2.AppendDeadLetterResponse,
    idempotent=False,
)


def test_topics_count_what_was_published(mesh: LiveMesh) -> None:
    data_dir = mesh.layout.data_dir

    def ends() -> dict[str, int]:
        told = json.loads(feedmesh("log", "topics", "--json", "--data-dir", data_dir))
        assert told["kind"] == mesh.layout.log.kind
        return {topic["topic"]: topic["end"] for topic in told["topics"]}

    before = ends()
    mesh.connection.publish([events.save(new_id(), board=new_id(), user=new_id())])
    after = ends()
    for topic in ("pins", "actions", "counts"):
        assert after[topic] > before[topic], topic
    assert (after["graph"], after["objects"]) == (before["graph"], before["objects"])
    table = feedmesh("log", "topics", "--data-dir", data_dir)
    assert "records at most" in table
    assert ("in sync" in table) == (mesh.layout.log.kind == "kafka")


def test_lag_names_every_follower_and_ends_at_0(mesh: LiveMesh) -> None:
    mesh.connection.publish([events.save(new_id(), board=new_id(), user=new_id()) for _ in range(100)])

    def behind() -> dict[str, int]:
        told = json.loads(feedmesh("log", "lag", "--json", "--data-dir", mesh.layout.data_dir))
        return {one["process"]: sum(one["lag"].values()) for one in told}

    wait_until(lambda: behind() == dict.fromkeys(sorted(FOLLOWING, key=list(mesh.names).index), 0), "no lag")


def test_tail_shows_a_record_that_was_published(mesh: LiveMesh) -> None:
    user, pin = new_ids(2)
    mesh.connection.publish([events.action(user, pin, type_pb2.ACTION_TYPE_CLICK)])
    printed = feedmesh("log", "tail", "actions", "--limit", "100000", "--data-dir", mesh.layout.data_dir)
    found = [one for one in documents(printed) if one["record"]["key"] == str(user)]
    assert [one["record"]["event"]["action"]["pin"] for one in found] == [str(pin)]
    assert "no topic 'nothing'" in feedmesh(
        "log", "tail", "nothing", "--data-dir", mesh.layout.data_dir, code=2
    )


def test_a_dead_letter_is_listed_shown_and_replayed_to_its_service_alone(mesh: LiveMesh) -> None:
    """As after a fix: the record makes sense, and one service had buried it."""
    user, pin = new_ids(2)
    token = mesh.connection.publish([events.action(user, pin, type_pb2.ACTION_TYPE_CLICK)])
    views = Views(mesh.connection)
    views.after = token
    click = (pin, type_pb2.ACTION_TYPE_CLICK)
    assert views.history(user)[click] == 1
    letter = _letter_of(mesh, user, service="realpin")
    request = log_pb2.AppendDeadLetterRequest(dead_letter=letter.SerializeToString())
    offset = mesh.connection.channels.call(
        mesh.connection.ingest, APPEND, request, timeout_s=10.0, retry=False
    ).offset

    data_dir = mesh.layout.data_dir
    listed = feedmesh("log", "dead-letters", "--data-dir", data_dir)
    assert "a test buried it" in listed
    shown = json.loads(feedmesh("log", "dead-letters", "--show", str(offset), "--data-dir", data_dir))
    assert shown["dead_letter"]["value"]["record"]["key"] == str(user)
    for _ in range(2):
        said = feedmesh("log", "dead-letters", "--replay", str(offset), "--data-dir", data_dir)
        assert "again, for realpin" in said
    views.after = b""
    # RealPin counts it once more, though it was replayed twice; Aperture, which had it, does not.
    wait_until(lambda: _clicks(views, user) == 2, "the replayed record in RealPin")
    views.after = mesh.connection.publish([events.action(user, new_id(), type_pb2.ACTION_TYPE_CLOSEUP)])
    assert _clicks(views, user) == 2
    assert views.history(user)[click] == 1


def test_a_dead_letter_that_is_not_there_is_refused(mesh: LiveMesh) -> None:
    said = feedmesh("log", "dead-letters", "--replay", "999999", "--data-dir", mesh.layout.data_dir, code=2)
    assert "no dead letter at offset 999999" in said


def _clicks(views: Views, user: int) -> int:
    return int(views.signal(user, "actions_1d").get(type_pb2.ACTION_TYPE_CLICK, 0))


def _letter_of(mesh: LiveMesh, user: int, *, service: str) -> record_pb2.DeadLetter:
    """A dead letter about the user's record in `actions`."""
    with opened_log(mesh.connection) as log:
        positions = {("actions", n): begin for n, begin in enumerate(log.begin_offsets("actions"))}
        for found in read_to_end(log, positions):
            if record_pb2.Record.FromString(found.value).key == user:
                return record_pb2.DeadLetter(
                    topic=found.topic,
                    partition=found.partition,
                    offset=found.offset,
                    service=service,
                    reason="a test buried it",
                    value=found.value,
                )
    raise AssertionError(f"no record of {user} in actions; {DEAD_LETTERS} cannot be made")
