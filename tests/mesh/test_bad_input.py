"""Nonsense over the wire: each gets a clear error of the right class, and the process goes on as it was.

Every case is one request to one service of the shared mesh. Afterwards the same process answers its health
check, and what a refused Publish held is nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from feedmesh.feedgen.v1 import feedgen_pb2
from feedmesh.log.v1 import log_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import (
    BadRequest,
    InvalidCursor,
    InvalidToken,
    LimitExceeded,
    NotFound,
    OffsetOutOfRange,
    TokenAhead,
)
from services.chassis.log.token import Token
from services.chassis.rpc.status import from_rpc
from tests.mesh import events
from tests.mesh import views as rpc
from tests.mesh.bad_requests import ALL, Case
from tests.mesh.events import new_id, new_ids
from tests.mesh.live import LiveMesh
from tests.mesh.metric_table import scrape
from tests.mesh.views import Views, pins_of, wait_until

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300), pytest.mark.xdist_group("mesh-shared")]


@pytest.fixture
def same_processes(mesh: LiveMesh) -> Iterator[None]:
    """After the test every process is the one it was, and serves."""
    before = {name: mesh.pid(name) for name in mesh.names}
    yield
    assert {name: mesh.pid(name) for name in mesh.names} == before
    assert mesh.ready()


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.service}: {case.what}")
def test_nonsense_is_refused_with_what_is_wrong(mesh: LiveMesh, case: Case) -> None:
    pid = mesh.pid(case.service)
    with pytest.raises(case.error) as raised:
        mesh.connection.channels.call(
            mesh.process(case.service).address, case.method, case.request, timeout_s=5.0
        )
    assert case.says.lower() in raised.value.message.lower()
    assert len(raised.value.message) > 10
    assert mesh.pid(case.service) == pid
    assert mesh.ready(case.service)


@pytest.mark.usefixtures("same_processes")
def test_one_bad_event_keeps_the_whole_request_out(views: Views) -> None:
    board, good, user = new_ids(3)
    batch = [events.save(good, board=board, user=user), events.save(0, board=board, user=user)]
    with pytest.raises(BadRequest, match=r"events\[1\]"):
        views.connection.publish(batch)
    views.after = views.connection.publish([events.put_board(board, owner=user)])
    assert views.pins(board) == (set(), 0)
    assert not views.history(user)


@pytest.mark.usefixtures("same_processes")
@pytest.mark.parametrize("count", [0, 1_001])
def test_too_few_or_too_many_events_are_refused(views: Views, count: int) -> None:
    user = new_id()
    with pytest.raises(LimitExceeded, match=str(count)):
        views.connection.publish([events.follow(user, board=board) for board in new_ids(count)])
    assert views.following("board", user) == (set(), 0)


@pytest.mark.usefixtures("same_processes")
def test_request_over_four_mebibytes_is_refused(views: Views) -> None:
    text = "x" * 4_900
    batch = [
        events.event(put_object={"id": new_id(), "pin": {"title": "big", "description": text}})
        for _ in range(950)
    ]
    with pytest.raises(LimitExceeded, match="split"):
        views.connection.publish(batch)


@pytest.mark.usefixtures("same_processes")
@pytest.mark.parametrize("service", ["ingest", "polaris", "feedgen"])
def test_message_beyond_what_a_process_takes_is_refused_by_grpc(mesh: LiveMesh, service: str) -> None:
    code = _raw(mesh, service, bytes(33 << 20)).code()
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.usefixtures("same_processes")
@pytest.mark.parametrize("service", sorted(set(rpc.SERVICE_METHODS)))
def test_bytes_that_are_no_message_are_the_callers_fault(mesh: LiveMesh, service: str) -> None:
    error = _raw(mesh, service, b"\xff\xff\xff\xff")
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(from_rpc(error), BadRequest)


@pytest.mark.usefixtures("same_processes")
def test_unknown_method_is_unimplemented(mesh: LiveMesh) -> None:
    for name in mesh.names:
        with grpc.insecure_channel(mesh.process(name).address) as channel:
            call = channel.unary_unary("/feedmesh.nothing.v1.Nothing/Nothing", None, None)
            with pytest.raises(grpc.RpcError) as raised:
                call(b"", timeout=5)
        assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.usefixtures("same_processes")
def test_cursor_of_another_user_is_refused(views: Views) -> None:
    board, *pins = new_ids(30)
    user, other = new_ids(2)
    views.after = views.connection.publish(
        [events.follow(user, board=board), *(events.save(pin, board=board, user=other) for pin in pins)]
    )
    cursor = views.feed(user, page_size=5).cursor
    with pytest.raises(InvalidCursor, match="another user"):
        views.feed(other, cursor=cursor)
    flipped = bytearray(cursor)
    flipped[20] ^= 0x10
    with pytest.raises(InvalidCursor, match="damaged"):
        views.feed(user, cursor=bytes(flipped))
    assert pins_of(views.feed(user, page_size=5, cursor=cursor))


@pytest.mark.usefixtures("same_processes")
def test_corrupt_token_is_refused_everywhere(views: Views) -> None:
    user, board = new_ids(2)
    token = bytearray(views.connection.publish([events.follow(user, board=board)]))
    token[-1] ^= 0xFF
    views.after = bytes(token)
    for read in _reads(views, user, board):
        with pytest.raises(InvalidToken, match="token"):
            read()
    views.after = b"x"
    with pytest.raises(InvalidToken):
        views.feed(user)


@pytest.mark.usefixtures("same_processes")
def test_token_of_another_log_is_refused_everywhere(views: Views) -> None:
    user, board = new_ids(2)
    views.after = Token("another-log", {("graph", 0): 1, ("pins", 0): 1, ("actions", 0): 1}).encode()
    for read in _reads(views, user, board):
        with pytest.raises(InvalidToken, match="another-log"):
            read()


@pytest.mark.usefixtures("same_processes")
def test_token_from_the_future_is_out_of_range(views: Views) -> None:
    user, board = new_ids(2)
    token = Token.decode(views.connection.publish([events.follow(user, board=board)]))
    ahead = dict.fromkeys(token.positions, 1 << 40)
    views.after = Token(token.log_id, ahead).encode()
    with pytest.raises(TokenAhead):
        views.feed(user)
    with pytest.raises(TokenAhead):
        views.followed_boards(user)


@pytest.mark.usefixtures("same_processes")
def test_tail_from_nowhere_is_refused(mesh: LiveMesh) -> None:
    # A log in Kafka is followed there, and Ingest refuses all of them as one.
    beyond = OffsetOutOfRange if mesh.layout.log.kind == "embedded" else BadRequest
    places = [
        (log_pb2.Position(topic="nothing", partition=0), BadRequest),
        (log_pb2.Position(topic="graph", partition=9_999), BadRequest),
        (log_pb2.Position(topic="graph", partition=0, offset=1 << 40), beyond),
    ]
    with grpc.insecure_channel(mesh.process("ingest").address) as channel:
        tail = channel.unary_stream(
            "/feedmesh.log.v1.LogService/Tail",
            log_pb2.TailRequest.SerializeToString,
            log_pb2.TailResponse.FromString,
        )
        for position, error in places:
            with pytest.raises(grpc.RpcError) as raised:
                list(tail(log_pb2.TailRequest(positions=[position]), timeout=5))
            assert isinstance(from_rpc(raised.value), error), raised.value


@pytest.mark.usefixtures("same_processes")
def test_poison_in_a_name_reaches_no_view_and_stops_nobody(views: Views) -> None:
    user, board = new_ids(2)
    strange = "\u0000\u202e" + "%s{}" * 20
    views.after = views.connection.publish([events.put_board(board, owner=user, title=strange)])
    found = views.objects(type_pb2.OBJECT_KIND_BOARD, [board])
    assert found[board].board.title == strange


@pytest.mark.usefixtures("same_processes")
def test_broken_shard_map_keeps_the_old_one(mesh: LiveMesh, views: Views) -> None:
    board, pin, user, other = new_ids(4)
    views.after = views.connection.publish(
        [events.follow(user, board=board), events.save(pin, board=board, user=other)]
    )
    path = mesh.layout.map_path
    good = path.read_text()
    broken = good.replace('"00007"', '"99999"')
    assert broken != good
    try:
        for bad in ("{ this is no JSON", broken):
            _replace(path, bad)
            wait_until(lambda: all(_valid(mesh, name) == 0 for name in mesh.names), "the map being refused")
            page = views.feed(user, dry_run=True, ranking=feedgen_pb2.RANKING_MODEL)
            assert pins_of(page) == [pin]
            assert page.complete
    finally:
        _replace(path, good)
    wait_until(lambda: all(_valid(mesh, name) == 1 for name in mesh.names), "the map being taken again")
    assert "shard map refused" in mesh.said("feedgen")


@pytest.mark.usefixtures("same_processes")
def test_broken_model_keeps_the_old_one_serving(mesh: LiveMesh, views: Views) -> None:
    board, pin, user, other = new_ids(4)
    views.after = views.connection.publish(
        [events.follow(user, board=board), events.save(pin, board=board, user=other)]
    )
    pointer = mesh.models_dir / "serving"
    serving = pointer.read_text()
    broken = mesh.models_dir / "broken"
    broken.mkdir()
    for file in (mesh.models_dir / serving.strip()).iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    text = (broken / "model.txt").read_text()
    (broken / "model.txt").write_text(text[: len(text) // 2])
    _replace(pointer, "broken\n")
    try:
        wait_until(lambda: "broken" in mesh.said("scorpion"), "the model being refused")
        page = views.feed(user, dry_run=True, ranking=feedgen_pb2.RANKING_MODEL)
        assert page.complete
        assert page.model == serving.strip()
    finally:
        _replace(pointer, serving)
    with pytest.raises(NotFound):
        views.feed(user, dry_run=True, ranking=feedgen_pb2.RANKING_MODEL, model="broken")


def _reads(views: Views, user: int, board: int) -> list[Any]:
    return [
        lambda: views.feed(user),
        lambda: views.followed_boards(user),
        lambda: views.pins(board),
        lambda: views.seen(user),
        lambda: views.signal(user, "recent_pins"),
        lambda: views.counts([user], ["saves"]),
        lambda: views.objects(type_pb2.OBJECT_KIND_BOARD, [board]),
    ]


def _raw(mesh: LiveMesh, service: str, data: bytes) -> Any:
    """The error that these bytes get."""
    with (
        grpc.insecure_channel(
            mesh.process(service).address, options=[("grpc.max_send_message_length", -1)]
        ) as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        channel.unary_unary(rpc.SERVICE_METHODS[service], None, None)(data, timeout=20)
    return raised.value


def _valid(mesh: LiveMesh, name: str) -> float:
    (family,) = [
        f for f in scrape(mesh.process(name).metrics_address) if f.name == "feedmesh_shard_map_valid"
    ]
    return float(family.samples[0].value)


def _replace(path: Path, text: str) -> None:
    """Written beside and renamed, as deployments do it."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.replace(path)
