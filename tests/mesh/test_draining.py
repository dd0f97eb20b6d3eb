"""SIGTERM drains: what is in flight is answered, what comes later is sent elsewhere, the exit code is 0."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from feedmesh.ingest.v1 import ingest_pb2
from feedmesh.polaris.v1 import polaris_pb2
from services.chassis.columns.packed import unpack_u64
from services.chassis.errors import Unavailable
from services.chassis.log.token import Token
from services.cli.connection import PUBLISH, reading_after
from tests.mesh import events
from tests.mesh.events import new_id, new_ids
from tests.mesh.live import LiveMesh
from tests.mesh.metric_table import scrape
from tests.mesh.views import LIST_PINS, Views, pins_of, stages_of, wait_until

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300), pytest.mark.xdist_group("mesh-rough")]


def in_flight(mesh: LiveMesh, name: str) -> int:
    """Calls that the process holds now."""
    families = scrape(mesh.process(name).metrics_address)
    (held,) = [f.samples[0] for f in families if f.name == "feedmesh_rpc_server_in_flight"]
    return int(held.value)


def test_read_that_waits_for_its_token_is_answered_while_its_process_drains(rough_mesh: LiveMesh) -> None:
    mesh = rough_mesh
    board, early, late, user = new_ids(4)
    token = Token.decode(mesh.connection.publish([events.save(early, board=board, user=user)]))
    # The end of a transaction takes an offset in Kafka, so there the next save lies one further.
    ahead = 2 if mesh.layout.log.kind == "kafka" else 1
    next_position = {place: offset + ahead for place, offset in token.positions.items() if place[0] == "pins"}
    waiting = Token(token.log_id, next_position).encode()
    connection = mesh.connect()

    def read() -> list[int]:
        with reading_after(waiting):
            request = polaris_pb2.ListPinsRequest(board=board)
            answer = connection.router.call_one("polaris", board, LIST_PINS, request, 10.0)
        return sorted(int(pin) for pin in unpack_u64(answer.pins_u64))

    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(read)
        wait_until(lambda: in_flight(mesh, "polaris") == 1, "the read being in flight")
        stopping = threading.Thread(target=mesh.stop, args=("polaris",))
        stopping.start()
        time.sleep(0.3)
        assert not pending.done(), "the read did not wait; the test shows nothing"
        mesh.connection.publish([events.save(late, board=board, user=user)])
        assert pending.result(10) == [early, late]
        stopping.join(20)
    assert mesh.exit_code("polaris") == 0
    mesh.start_again("polaris")


def test_feed_in_flight_is_answered_while_the_feedgenerator_drains(rough_mesh: LiveMesh) -> None:
    mesh = rough_mesh
    board, pin, user, other = new_ids(4)
    views = Views(mesh.connect())
    views.after = views.connection.publish(
        [events.follow(user, board=board), events.save(pin, board=board, user=other)]
    )
    views.feed(user, dry_run=True)
    with mesh.frozen("aperture"), ThreadPoolExecutor(1) as pool:
        pending = pool.submit(views.feed, user)
        wait_until(lambda: in_flight(mesh, "feedgen") == 1, "the feed being in flight")
        mesh.stop("feedgen")
        page = pending.result(10)
    assert pins_of(page) == [pin]
    assert stages_of(page)["seen"] == "missed"
    assert mesh.exit_code("feedgen") == 0
    mesh.start_again("feedgen")
    # Impressions of the last page were published before the end, as far as Ingest could be reached.
    views.after = b""
    wait_until(lambda: views.seen(user) == {pin}, "the impression of the page in flight")


def test_publishes_in_flight_are_durable_or_refused_while_ingest_drains(rough_mesh: LiveMesh) -> None:
    mesh = rough_mesh
    board, user = new_ids(2)
    acknowledged: list[int] = []
    refused: list[Unavailable] = []

    def publish() -> None:
        connection = mesh.connect()
        while not refused:
            pins = new_ids(20)
            saves = [events.save(pin, board=board, user=user) for pin in pins]
            try:
                connection.channels.call(
                    connection.ingest,
                    PUBLISH,
                    ingest_pb2.PublishRequest(events=saves),
                    timeout_s=5.0,
                    retry=False,
                )
            except Unavailable as fault:
                refused.append(fault)
            else:
                acknowledged.extend(pins)

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(acknowledged) >= 200, "some publishes")
    mesh.stop("ingest")
    for thread in threads:
        thread.join(20)
    assert mesh.exit_code("ingest") == 0
    mesh.start_again("ingest")
    views = Views(mesh.connection)
    views.after = views.connection.publish([events.save(new_id(), board=new_id(), user=user)])
    wait_until(lambda: views.pins(board)[0] >= set(acknowledged), "what was acknowledged")
    # A publish whose answer was cut off may be there as well; nothing is there twice.
    pins, count = views.pins(board)
    assert count == len(pins) <= len(acknowledged) + 4 * 20
