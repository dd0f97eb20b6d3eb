"""What the benchmark of the log does to a running mesh, whichever log it has: as much as goes, then at a
fixed rate, then one event at a time until it is visible."""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedmesh.log.v1 import event_pb2
from feedmesh.polaris.v1 import polaris_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.rpc.method import Method
from services.cli.connection import Connection, reading_after
from services.cli.mesh.layout import Layout
from tests.bench.processes import cpu_us, pids
from tests.bench.report import Row
from tests.bench.scrape import lag_records, samples

LIST_PINS = Method(
    "/feedmesh.polaris.v1.PolarisService/ListPins", polaris_pb2.ListPinsRequest, polaris_pb2.ListPinsResponse
)
SECONDS = 20
IN_FLIGHT = 8
BATCH = 500
RECORDS_A_CLICK, RECORDS_A_SAVE = 2, 3
RECORDS_AN_EVENT = (3 * RECORDS_A_CLICK + RECORDS_A_SAVE) / 4
"""Three click actions to one save, as a load of real actions is mixed."""
PACED_RATE = 200
PACED_COUNT = 2_000
VISIBLE_COUNT = 500
_USERS, _PINS, _BOARDS = 5_000, 100_000, 2_000


@dataclass(frozen=True)
class Measured:
    """What one log came to under a whole mesh."""

    events: int
    seconds: float
    caught_up_s: float
    cpu_us_per_event: dict[str, float]
    group_records: float
    """Mean records of a group commit."""
    record_bytes: float
    acks_s: NDArray[np.float64]
    visible_s: NDArray[np.float64]

    @property
    def events_per_s(self) -> float:
        """Events acknowledged durable."""
        return self.events / self.seconds

    @property
    def records_per_s(self) -> float:
        """Records acknowledged durable."""
        return self.events_per_s * RECORDS_AN_EVENT


def measure(connection: Connection, layout: Layout) -> Measured:
    """Load the mesh that is up and ready, in the three ways."""
    throughput(connection, seconds=3)
    running = pids(layout)
    before, counted = cpu_us(running), _groups(layout)
    events, seconds = throughput(connection, seconds=SECONDS)
    caught_up_s = _caught_up(layout)
    after, counted_after = cpu_us(running), _groups(layout)
    groups, records, size = (b - a for a, b in zip(counted, counted_after, strict=True))
    return Measured(
        events=events,
        seconds=seconds,
        caught_up_s=caught_up_s,
        cpu_us_per_event={name: (after[name] - before[name]) / events for name in running},
        group_records=records / groups,
        record_bytes=size / records,
        acks_s=_paced(connection),
        visible_s=_visible(connection),
    )


def quantiles(name: str, seconds: NDArray[np.float64]) -> list[Row]:
    """p50 and p99 of waits, as rows."""
    return [
        Row(f"{name}, p50", float(np.quantile(seconds, 0.5)) * 1e3, "ms"),
        Row(f"{name}, p99", float(np.quantile(seconds, 0.99)) * 1e3, "ms"),
    ]


def throughput(connection: Connection, *, seconds: float) -> tuple[int, float]:
    """Events acknowledged, and the seconds it took: IN_FLIGHT calls of BATCH events each."""
    rng = np.random.default_rng(3)
    batches = [_batch(rng) for _ in range(40)]
    flying: deque[Any] = deque()
    sent = 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        if len(flying) == IN_FLIGHT:
            flying.popleft().result()
        batch = batches[sent % len(batches)]
        run_id = f"{os.urandom(4).hex()}{sent}"
        for index, event in enumerate(batch):
            event.id = f"{run_id}-{index}"
        flying.append(connection.start_publish(batch, timeout_s=30))
        sent += 1
    for pending in flying:
        pending.result()
    return sent * BATCH, time.perf_counter() - began


def _batch(rng: np.random.Generator) -> list[event_pb2.Event]:
    events = []
    users = rng.integers(1, _USERS, BATCH).tolist()
    pins = rng.integers(1, _PINS, BATCH).tolist()
    for index, (user, pin) in enumerate(zip(users, pins, strict=True)):
        if index % 4:
            action = event_pb2.Action(
                user=user, pin=pin, type=type_pb2.ACTION_TYPE_CLICK, board=pin % _BOARDS + 1
            )
            events.append(event_pb2.Event(action=action))
        else:
            save = event_pb2.SavePin(pin=pin, board=pin % _BOARDS + 1, user=user, quality=0.5)
            events.append(event_pb2.Event(save_pin=save))
    return events


def _groups(layout: Layout) -> tuple[float, float, float]:
    """Groups, records and bytes that Ingest has committed."""
    address = next(p.metrics_address for p in layout.processes if p.service == "ingest")
    names = ("feedmesh_log_group_records_count", "feedmesh_log_group_records_sum", "feedmesh_log_bytes_total")
    groups, records, size = (sum(samples(address, name).values()) for name in names)
    return groups, records, size


def _caught_up(layout: Layout) -> float:
    began = time.perf_counter()
    while any(lag_records(process.metrics_address) for process in layout.processes):
        time.sleep(0.02)
    return time.perf_counter() - began


def _paced(connection: Connection) -> NDArray[np.float64]:
    """Seconds from the scheduled time to the acknowledgement of one event."""
    waits: list[float] = []
    flying: deque[tuple[float, Any]] = deque()
    start = time.perf_counter() + 0.05

    def land(due: float, pending: Any) -> None:
        pending.on_done(lambda: waits.append(time.perf_counter() - due))

    for number in range(PACED_COUNT):
        due = start + number / PACED_RATE
        time.sleep(max(0.0, due - time.perf_counter()))
        event = event_pb2.Event(
            id=f"paced-{os.urandom(6).hex()}",
            action=event_pb2.Action(user=number + 1, pin=number + 1, type=type_pb2.ACTION_TYPE_CLICK),
        )
        pending = connection.start_publish([event])
        land(due, pending)
        flying.append((due, pending))
    for _, pending in flying:
        pending.result()
    return np.array(waits)


def _visible(connection: Connection) -> NDArray[np.float64]:
    """Seconds from the start of a Publish until a read with its token has the pin."""
    waits = []
    for number in range(VISIBLE_COUNT):
        pin, board = 10_000_000 + number, 5_000_000 + number % 64
        save = event_pb2.SavePin(pin=pin, board=board, user=1, quality=0.9)
        began = time.perf_counter()
        token = connection.publish([event_pb2.Event(id=f"v-{os.urandom(6).hex()}", save_pin=save)])
        with reading_after(token):
            request = polaris_pb2.ListPinsRequest(board=board, limit=1_000)
            answer = connection.router.call_one("polaris", board, LIST_PINS, request, 5.0)
        waits.append(time.perf_counter() - began)
        if pin not in np.frombuffer(answer.pins_u64, "<u8"):
            raise AssertionError("a read with the token did not see its event")
    return np.array(waits)
