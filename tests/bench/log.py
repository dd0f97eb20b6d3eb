"""`log`: events acknowledged durable, the wait for an acknowledgement, the wait until an event is visible.

The whole mesh runs and follows. Throughput: 8 Publish calls in flight with 500 events each, three click
actions to one save, as a load of real actions is mixed. The peer of throughput is bare RocksDB in this
process: the same number of records of the same size, in groups of the same size, each synced. Visible: from
the start of a Publish of one save until Polaris answers a read that carries its token.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from feedmesh.log.v1 import event_pb2
from feedmesh.polaris.v1 import polaris_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.rpc.method import Method
from services.chassis.storage import Store
from services.chassis.storage.options import log_family, small_family
from services.cli.connection import Connection, reading_after
from services.cli.mesh.layout import Layout
from services.cli.up import running_mesh
from tests.bench.processes import cpu_us, machine, pids
from tests.bench.report import Row, beside
from tests.bench.scrape import lag_records

LIST_PINS = Method(
    "/feedmesh.polaris.v1.PolarisService/ListPins", polaris_pb2.ListPinsRequest, polaris_pb2.ListPinsResponse
)
SECONDS = 20
IN_FLIGHT = 8
BATCH = 500
RECORDS_A_CLICK, RECORDS_A_SAVE = 2, 3
PACED_RATE = 200
PACED_COUNT = 2_000
VISIBLE_COUNT = 1_000
_USERS, _PINS, _BOARDS = 5_000, 100_000, 2_000


def run() -> tuple[list[Row], list[str]]:
    console = Console()
    folder = Path(tempfile.mkdtemp(prefix="feedmesh-bench-"))
    try:
        layout = Layout.create(folder, ports=None, hosts={})
        with running_mesh(layout) as mesh, Connection(layout) as connection:
            mesh.wait_until_ready(console)
            _throughput(connection, seconds=3)
            running = pids(layout)
            before = cpu_us(running)
            events, seconds = _throughput(connection, seconds=SECONDS)
            caught_up_s = _caught_up(layout)
            after = cpu_us(running)
            acks = _paced(connection)
            visible = _visible(connection)
        bare = _bare_rocksdb(folder / "bare")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    per_event = {name: (after[name] - before[name]) / events for name in running}
    records = events * (3 * RECORDS_A_CLICK + RECORDS_A_SAVE) / 4
    rows = [
        Row("events acknowledged durable", events / seconds, "events/s"),
        beside(
            "records acknowledged durable",
            records / seconds,
            "records/s",
            peer="bare RocksDB, same groups",
            peer_value=bare,
            more_is_better=True,
        ),
        Row("followers caught up after the last acknowledgement", caught_up_s, "s"),
        *(
            Row(f"CPU of {name}", cost, "µs/event")
            for name, cost in sorted(per_event.items(), key=lambda e: -e[1])
        ),
        *_quantiles(f"acknowledgement of one event, {PACED_RATE}/s", acks),
        *_quantiles("event to visible (save → Polaris)", visible),
    ]
    return rows, [machine(), f"{events:,} events in {seconds:.1f} s, followers running on the same cores"]


def _throughput(connection: Connection, *, seconds: float) -> tuple[int, float]:
    rng = np.random.default_rng(3)
    batches = [_batch(rng, number) for number in range(40)]
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


def _batch(rng: np.random.Generator, number: int) -> list[event_pb2.Event]:
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


def _bare_rocksdb(path: Path) -> float:
    """Records a second of the store alone: groups of one batch's records of 100 bytes, each synced."""
    group = BATCH * (3 * RECORDS_A_CLICK + RECORDS_A_SAVE) // 4
    with Store(path, {"records": log_family(), "system": small_family()}) as store:
        value = bytes(100)
        written = 0
        began = time.perf_counter()
        while time.perf_counter() - began < 5:
            batch = store.batch()
            for index in range(group):
                batch.put("records", (written + index).to_bytes(11, "big"), value)
            store.write(batch, sync=True)
            written += group
        return written / (time.perf_counter() - began)


def _quantiles(name: str, seconds: NDArray[np.float64]) -> list[Row]:
    return [
        Row(f"{name}, p50", float(np.quantile(seconds, 0.5)) * 1e3, "ms"),
        Row(f"{name}, p99", float(np.quantile(seconds, 0.99)) * 1e3, "ms"),
    ]
