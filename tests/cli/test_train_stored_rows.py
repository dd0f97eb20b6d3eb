"""Rows of pins, boards, owners and users in training are those that a real Rockstore had at that moment."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from numpy.typing import NDArray
from prometheus_client.registry import CollectorRegistry

from feedmesh.log.v1 import event_pb2, record_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.clock import FakeClock
from services.chassis.columns.packed import pack_f32, pack_u64
from services.chassis.errors import FeedmeshError
from services.chassis.shards.map import Host
from services.chassis.shards.routing import HostAnswer
from services.cli.train.declared import Declared
from services.cli.train.replay import ReplayOptions, replay
from services.ingest.records import RecordBuilder
from services.scorpion.clients import StaticStores
from services.scorpion.features import Candidates, RowKind
from services.scorpion.metrics import ScorpionMetrics
from tests.cli.train_logs import event, history_of
from tests.rockstore.records import Rockstore, open_rockstore

FEATURES = """
[[feature]]
name = "quality"
source = "pin.quality"
default = 0.5

[[feature]]
name = "size"
source = "board.size"
transform = "log1p"
default = 5.0

[[feature]]
name = "light_score"
source = "candidate.light_score"

[[feature]]
name = "topic"
source = "board.topic"
type = "category"

[[feature]]
name = "owner_age"
source = "owner.age"

[[feature]]
name = "country"
source = "user.country"
type = "category"

[[feature]]
name = "age"
source = "user.age"
default = -1.0
"""
SCHEMAS = """
[[schemas]]
kind = "pin"
version = 1
features = ["quality"]
defaults = [0.25]
id_columns = ["board", "owner"]

[[schemas]]
kind = "board"
version = 1
features = ["pins", "topic"]
defaults = [0.0, 0.0]

[[schemas]]
kind = "board"
version = 2
features = ["topic", "size"]
defaults = [0.0, 3.0]
upgrades = { pins = "size" }

[[schemas]]
kind = "user"
version = 1
features = ["age", "country"]
defaults = [0.0, 0.0]
"""
T0 = 1_790_000_000_000
STEP_MS = 10_000
PINS, BOARDS, USERS = (101, 102, 103), (21, 22, 23), (11, 12)
OWNERS = {21: 11, 22: 12, 23: 11}
STORED = (RowKind.PIN, RowKind.BOARD, RowKind.OWNER, RowKind.USER)


@pytest.fixture
def declared(tmp_path: Path) -> Declared:
    """Rows of three kinds, one of them in two versions."""
    folder = tmp_path / "config"
    folder.mkdir()
    for service in ("counter", "polaris", "realpin"):
        (folder / f"{service}.toml").write_text("")
    (folder / "rockstore.toml").write_text(SCHEMAS)
    (folder / "features.toml").write_text(FEATURES)
    return Declared.read(folder, {})


@pytest.fixture
def rockstore(tmp_path: Path, declared: Declared) -> Iterator[Rockstore]:
    """The real one, with the same schemas."""
    schemas = [
        schema
        for kind in (1, 2, 3)
        for version in declared.schemas.versions(kind)
        if (schema := declared.schemas.get(kind, version)) is not None
    ]
    opened = open_rockstore(tmp_path / "store", schemas=schemas, clock=FakeClock(T0))
    yield opened
    opened.raw.close()


class InProcess:
    """Routes to one Rockstore in this process."""

    def __init__(self, rockstore: Rockstore) -> None:
        self._rockstore = rockstore

    def call(
        self, segment: str, ids: NDArray[np.uint64], method: Any, make_request: Any, timeout_s: float
    ) -> list[HostAnswer[Any]]:
        rows = np.arange(ids.size, dtype=np.intp)
        name = method.path.rpartition("/")[2]
        try:
            response = getattr(self._rockstore.servicer, name)(make_request(rows), None)
        except FeedmeshError as fault:
            return [HostAnswer(Host("here", "", ()), rows, None, fault)]
        return [HostAnswer(Host("here", "", ()), rows, response, None)]

    def call_one(self, segment: str, id: int, method: Any, request: Any, timeout_s: float) -> Any:
        (answer,) = self.call(segment, np.array([id], np.uint64), method, lambda _: request, timeout_s)
        return answer.get()


def put(kind: str, id: int, time_ms: int, **more: Any) -> event_pb2.Event:
    """A written row; `row` are its floats, `ids` its ids."""
    objects: dict[str, dict[str, Any]] = {
        "pin": {"pin": type_pb2.Pin(title="A")},
        "board": {"board": type_pb2.Board(title="A", owner=OWNERS.get(id, 11))},
        "user": {"user": type_pb2.User(name="A")},
    }
    body = event_pb2.PutObject(
        id=id,
        features_f32=pack_f32(np.array(more.pop("row", []), np.float32)),
        feature_ids_u64=pack_u64(np.array(more.pop("ids", []), np.uint64)),
        **objects[kind],
        **more,
    )
    return event(f"put-{kind}-{id}-{time_ms}", time_ms, put_object=body)


def drawn_events(seed: int) -> list[event_pb2.Event]:
    """Rows written, written again under older and newer versions, expiring and deleted; sessions between."""
    draw = random.Random(seed)
    events = [
        event(
            f"board-{board}",
            T0 + n,
            put_board=event_pb2.PutBoard(board=board, board_data=type_pb2.Board(title="A", owner=owner)),
        )
        for n, (board, owner) in enumerate(OWNERS.items())
    ]
    for step in range(1, 70):
        time_ms = T0 + step * STEP_MS
        more: dict[str, Any] = {"schema_version": 1}
        if draw.random() < 0.3:
            more["version"] = time_ms + draw.randrange(-20, 3) * STEP_MS
        if draw.random() < 0.3:
            more["ttl_seconds"] = draw.randrange(1, 9) * STEP_MS // 1000
        number = float(draw.randrange(-1, 5))
        match draw.choice(["pin", "board", "board", "user", "delete", "session", "session"]):
            case "pin":
                ids = [draw.choice([0, *BOARDS]), draw.choice([0, *USERS])]
                events.append(put("pin", draw.choice(PINS), time_ms, row=[number], ids=ids, **more))
            case "board":
                more["schema_version"] = draw.choice([1, 2])
                row = [number, number + 0.5 * draw.randrange(2)]
                events.append(put("board", draw.choice(BOARDS), time_ms, row=row, **more))
            case "user":
                events.append(put("user", draw.choice(USERS), time_ms, row=[number, 4 - number], **more))
            case "delete":
                kind, among = draw.choice([(1, PINS), (2, BOARDS), (3, USERS)])
                body = event_pb2.DeleteObject(
                    id=draw.choice(among),
                    kind=type_pb2.ObjectKind.ValueType(kind),
                    version=more.get("version", 0),
                )
                events.append(event(f"delete-{step}", time_ms, delete_object=body))
            case _:
                events.append(session(draw.choice(USERS), time_ms, [draw.choice([0, *BOARDS]) for _ in PINS]))
    return events


def session(user: int, time_ms: int, boards: Sequence[int]) -> event_pb2.Event:
    seen = event_pb2.Impressions(user=user, pins=PINS, boards=boards, type=type_pb2.ACTION_TYPE_IMPRESSION)
    return event(f"seen-{time_ms}", time_ms, impressions=seen)


def served(
    events: Sequence[event_pb2.Event], declared: Declared, rockstore: Rockstore
) -> dict[RowKind, NDArray[np.float32]]:
    """The stored rows' features of every session, read from Rockstore at its moment."""
    features, builder = declared.features, RecordBuilder(partitions=4)
    stores = StaticStores(
        features,
        InProcess(rockstore),  # type: ignore[arg-type]
        threads=1,
        metrics=ScorpionMetrics(CollectorRegistry()),
        log=structlog.get_logger(),
    )
    parts: dict[RowKind, list[NDArray[np.float32]]] = {kind: [] for kind in STORED}
    for one in events:
        rockstore.clock.advance_ms(one.time_ms - rockstore.clock.now_ms())
        if one.WhichOneof("body") != "impressions":
            records = [r for r in builder.build([one]) if r.topic == "objects"]
            rockstore.follow(*[record_pb2.Record.FromString(record.value) for record in records])
            continue
        seen = one.impressions
        pins = np.array(seen.pins, np.uint64)
        pin_ids = stores.fetch(RowKind.PIN, pins, timeout_s=30).rows.ids
        own = pin_ids[:, features.id_columns.index("board")].tolist()
        boards = [told or mine for told, mine in zip(seen.boards, own, strict=True)]
        candidates = Candidates(
            pins,
            boards=np.array(boards, np.uint64),
            owners=np.array([OWNERS.get(board, 0) for board in boards], np.uint64),
        )
        for kind in STORED:
            needed = features.row_ids(kind, seen.user, candidates, pin_ids)
            asked = np.unique(needed[needed != 0])
            fetched = stores.fetch(kind, asked, timeout_s=30)
            assert fetched.answered.all()
            known = dict(zip(asked.tolist(), fetched.rows.values, strict=True))
            nothing = features.missing_rows(1, kind).values[0]
            values = np.stack([known.get(id, nothing) for id in needed.tolist()])
            parts[kind].append(features.row_features(kind, values).matrix)
    stores.close()
    return {kind: np.concatenate(matrices) for kind, matrices in parts.items()}


@pytest.mark.parametrize("seed", range(6))
def test_stored_rows_of_training_are_those_of_serving(
    declared: Declared, rockstore: Rockstore, seed: int
) -> None:
    events = drawn_events(seed)
    # The log holds them in any order of publishing; training puts them in order of time.
    shuffled = random.Random(seed).sample(events, len(events))
    data = replay(history_of(shuffled), declared, ReplayOptions(rows_max=10**6), lambda *_: None).data
    expected = served(events, declared, rockstore)
    for columns in declared.features.kinds:
        mine = np.ascontiguousarray(data.matrix[:, columns.features])
        assert mine.tobytes() == expected[columns.kind].tobytes(), columns.kind
        # A history in which nothing changes, or nothing is ever missing, would prove little.
        assert np.unique(mine, axis=0).shape[0] > 2


def test_a_row_counts_from_the_moment_it_was_written(declared: Declared) -> None:
    events = [
        put("pin", 101, T0, row=[0.5], ids=[21, 11], schema_version=1),
        session(12, T0 + 10, [0] * 3),
        put("board", 21, T0 + 20, row=[7.0, 2.0], schema_version=1),
        put("user", 12, T0 + 20, row=[30.0, 4.0], schema_version=1),
        session(12, T0 + 30, [0] * 3),
    ]
    data = replay(history_of(events), declared, ReplayOptions(), lambda *_: None).data
    names = declared.features.names
    first, second = data.matrix[0], data.matrix[len(PINS)]
    before = {"size": np.log1p(5.0), "topic": -1, "country": -1, "age": -1}
    after = {"size": np.log1p(7.0), "topic": 2, "country": 4, "age": 30}
    for name, value in before.items():
        column = names.index(name)
        assert (first[column], second[column]) == pytest.approx((value, after[name])), name
