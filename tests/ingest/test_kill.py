"""kill -9 at any moment: every acknowledged request is there whole, and no request is there in part."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from services.chassis.log import embedded_store
from services.chassis.log.embedded import EmbeddedLog
from services.chassis.log.embedded_config import EmbeddedLogConfig
from services.chassis.log.embedded_metrics import LogMetrics
from services.chassis.metrics import new_registry
from services.chassis.storage.store import Store
from tests.ingest.publish_for_ever import PARTITIONS, RECORDS

ROUNDS = 4
ENOUGH = 40
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
