"""kill -9 at any moment: acknowledged requests are there whole, none in part; followers apply each once."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from services.chassis.clock import SystemClock
from services.chassis.log import embedded_store
from services.chassis.log.embedded import EmbeddedLog
from services.chassis.log.embedded_config import EmbeddedLogConfig
from services.chassis.log.embedded_metrics import LogMetrics
from services.chassis.log.follower import Follower, FollowerConfig, FollowerMetrics
from services.chassis.log.remote import RemoteLog
from services.chassis.metrics import new_registry
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage.store import Store
from tests.chassis.log.support import VIEW_FAMILIES, KeepingView, stored_keys
from tests.ingest.events import action
from tests.ingest.publish_for_ever import PARTITIONS, RECORDS
from tests.ingest.serving import closing_channels, publish, serve_ingest

ROUNDS = 4
ENOUGH = 40
FIRST_USER = 1_000
"""Above the keys that a KeepingView treats in a way of their own."""
WAIT_S = 60


@pytest.mark.mesh
def test_acknowledged_requests_are_whole_and_none_is_half_after_kill(tmp_path: Path) -> None:
    acknowledged = tmp_path / "acknowledged"
    acknowledged.touch()
    for round_number in range(ROUNDS):
        before = len(_lines(acknowledged))
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.ingest.publish_for_ever"),
                *(str(tmp_path / "log"), str(acknowledged), str(round_number * 1_000_000)),
            ]
        )
        try:
            deadline = time.monotonic() + WAIT_S
            while len(_lines(acknowledged)) < before + ENOUGH:
                assert process.poll() is None, "the publisher ended by itself"
                assert time.monotonic() < deadline, "too few publishes in time"
                time.sleep(0.005)
        finally:
            process.kill()
            process.wait()
        _check(tmp_path / "log", {int(line) for line in _lines(acknowledged)})


@pytest.mark.mesh
def test_a_killed_follower_applies_every_record_once(tmp_path: Path) -> None:
    users = itertools.count(FIRST_USER)
    published = 0
    with serve_ingest(tmp_path / "ingest") as served, closing_channels() as channels:
        address = served.address
        for _ in range(ROUNDS):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.ingest.follow_for_ever", str(tmp_path / "store"), address]
            )
            try:
                tails = served.metric("feedmesh_ingest_tail_records_total")
                deadline = time.monotonic() + WAIT_S
                # Killed when the follower has been sent a good part, and is applying it.
                while served.metric("feedmesh_ingest_tail_records_total") < tails + 200:
                    assert process.poll() is None, "the follower ended by itself"
                    assert time.monotonic() < deadline, "the follower read too little in time"
                    for user in itertools.islice(users, 20):
                        event = action()
                        event.id = f"e{user}"
                        event.action.user = user
                        publish(channels, address, event)
                        published += 1
            finally:
                process.kill()
                process.wait()
        applied = _applied(tmp_path / "store", RemoteLog(channels, address), published)
    assert sorted(applied) == list(range(FIRST_USER, FIRST_USER + published))


def _applied(store_dir: Path, log: RemoteLog, count: int) -> list[int]:
    """What the killed followers applied, and one more that is let to its end."""
    with Store(store_dir, VIEW_FAMILIES) as store:
        assert stored_keys(store), "nothing was applied before the kills"
        follower = Follower(
            log=log,
            store=store,
            view=KeepingView(store, topics=("actions",)),
            owned=OwnedShards.everything(64),
            config=FollowerConfig(),
            metrics=FollowerMetrics(new_registry()),
            clock=SystemClock(),
        )
        follower.start()
        ends = {("actions", number): end for number, end in enumerate(log.end_offsets("actions"))}
        assert sum(ends.values()) == count
        follower.wait_applied(ends, timeout_s=WAIT_S)
        follower.stop()
        return stored_keys(store)


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def _check(log_dir: Path, acknowledged: set[int]) -> None:
    with Store(log_dir, embedded_store.families()) as store:
        log = EmbeddedLog(
            store, EmbeddedLogConfig(disk_free_bytes_min=0), metrics=LogMetrics(new_registry()), topics={}
        )
        try:
            found = _read_all(log)
        finally:
            log.close()
    records = Counter(value for value, _ in found)
    assert max(records.values()) == 1, "a record is there twice"
    requests = Counter(int(value.split(b":")[0]) for value in records)
    halves = {request for request, count in requests.items() if count != RECORDS}
    assert not halves
    assert acknowledged <= set(requests)
    for value, partition in found:
        request, index = map(int, value.split(b":"))
        assert partition == (request + index) % PARTITIONS


def _read_all(log: EmbeddedLog) -> list[tuple[bytes, int]]:
    tail = log.tail({("pins", partition): 0 for partition in range(PARTITIONS)})
    found: list[tuple[bytes, int]] = []
    while len(found) < sum(log.end_offsets("pins")):
        chunks = tail.poll(timeout_ms=1_000)
        assert chunks
        found.extend((value, chunk.partition) for chunk in chunks for value in chunk.values)
    return found
