"""Two Ingest side by side, as `feedmesh up --log kafka --hosts ingest=2` starts them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from feedmesh.ingest.v1 import ingest_pb2
from services.cli.connection import PUBLISH
from tests.kafka.logs import KAFKA, brokers
from tests.mesh import events
from tests.mesh.events import new_id, new_ids
from tests.mesh.live import LiveMesh, live_mesh, log_in_kafka
from tests.mesh.views import Views, merged, pins_of, stages_of

pytestmark = [*KAFKA, pytest.mark.mesh, pytest.mark.xdist_group("kafka-log")]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMesh]:
    log = log_in_kafka(brokers())
    with live_mesh(tmp_path_factory.mktemp("two"), hosts={"ingest": 2}, log=log) as mesh:
        yield mesh


def publish_at(mesh: LiveMesh, name: str, *batch: events.Event) -> bytes:
    """Publish at one Ingest; the token."""
    address = mesh.process(name).address
    request = ingest_pb2.PublishRequest(events=batch)
    return mesh.connection.channels.call(address, PUBLISH, request, timeout_s=20.0).token


def test_what_either_ingest_acknowledged_is_in_the_feed_once(mesh: LiveMesh) -> None:
    person, board, owner = new_ids(3)
    pins = new_ids(30)
    tokens = [publish_at(mesh, "ingest", events.follow(person, board=board))]
    for number, pin in enumerate(pins):
        save = events.save(pin, board=board, user=owner)
        tokens.append(publish_at(mesh, ("ingest", "ingest-2")[number % 2], save))
        if number % 3 == 0:
            # A client that lost its acknowledgement asks the other one.
            publish_at(mesh, ("ingest-2", "ingest")[number % 2], save)
    views = Views(mesh.connection)
    views.after = merged(*tokens)
    page = views.feed(person, page_size=100, dry_run=True)
    assert page.complete, stages_of(page)
    assert sorted(pins_of(page)) == sorted(pins)
    assert views.counts(pins, ["saves"]).astype(int).ravel().tolist() == [1] * len(pins)


def test_writes_go_on_at_the_other_ingest_when_one_is_away(mesh: LiveMesh) -> None:
    person, board = new_ids(2)
    views = Views(mesh.connection)
    with mesh.stopped("ingest"):
        pin = new_id()
        views.after = mesh.connection.publish(
            [events.follow(person, board=board), events.save(pin, board=board, user=new_id())]
        )
        assert pins_of(views.feed(person, dry_run=True)) == [pin]
