"""Aperture as it runs: behind its follower and a real gRPC server, and read from other threads."""

from __future__ import annotations

import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from feedmesh.aperture.v1 import aperture_pb2, aperture_pb2_grpc
from services.aperture.__main__ import build
from services.aperture.config import ApertureConfig
from services.chassis.clock import FakeClock
from services.chassis.leaf import LeafProcess
from services.chassis.log.follower import Follower, FollowerConfig, FollowerMetrics
from services.chassis.log.log import NewRecord
from services.chassis.log.memory import MemoryLog
from services.chassis.process import ProcessConfig
from tests.aperture.whole import NOW_S, NUM_SHARDS, OWNED, Aperture, acted, forget, shown


def test_a_follower_feeds_the_view_from_the_log_and_its_token_is_waited_for(tmp_path: Path) -> None:
    aperture = Aperture(tmp_path / "db")
    log = MemoryLog({"actions": NUM_SHARDS})
    faults: list[BaseException] = []
    follower = Follower(
        log=log,
        store=aperture.store,
        view=aperture.view,
        owned=OWNED,
        config=FollowerConfig(poll_ms=10),
        metrics=FollowerMetrics(CollectorRegistry()),
        clock=FakeClock(NOW_S * 1000),
        on_fatal=faults.append,
    )
    follower.start()
    records = [shown(1, [10, 11]), acted(2, 20), acted(1, 0), acted(1, 12), forget(2)]
    new = []
    for number, record in enumerate(records, start=1):
        record.record_id = number
        new.append(NewRecord("actions", OWNED.shard_of(record.key), record.SerializeToString()))
    follower.wait_applied(log.publish(new).result(), timeout_s=10)
    follower.stop()
    assert not faults
    assert [row[1] for row in aperture.rows(1)] == [10, 11, 12]
    assert aperture.rows(2) == []
    assert log.end_offsets("dead-letters") == [1]
    aperture.crash()
    assert [row[1] for row in aperture.rows(1)] == [10, 11, 12]
    aperture.store.close()


def test_a_reader_on_another_thread_misses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    aperture = Aperture(tmp_path / "db", lane_pieces_max=3, freeze_after_hours=0, freeze_buckets_max=2)
    committed, faults, done = [0], list[str](), threading.Event()

    def read() -> None:
        while not done.is_set():
            at_least = committed[0]
            pins = sorted(row[1] for row in aperture.rows(1))
            if pins != list(range(1, len(pins) + 1)) or len(pins) < at_least:
                faults.append(f"at least {at_least}, read {pins}")
                return

    reader = threading.Thread(target=read)
    reader.start()
    for pin in range(1, 301):
        aperture.follow(acted(1, pin, time_s=NOW_S + pin * 7_200))
        committed[0] = pin
    done.set()
    reader.join()
    aperture.store.close()
    assert not faults, faults[0]


@pytest.mark.timeout(120)
def test_the_process_serves_over_grpc_while_the_log_is_away(tmp_path: Path) -> None:
    process = ProcessConfig(listen="127.0.0.1:0", data_dir=tmp_path, catch_up_s_max=0, drain_linger_ms=0)
    config = ApertureConfig(process=process, follower=FollowerConfig(log="127.0.0.1:1"))
    leaf = LeafProcess("aperture", config, build, segment="aperture")
    leaf.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{leaf.port}") as channel:
            stub = aperture_pb2_grpc.ApertureServiceStub(channel)
            answer = stub.GetSeen(aperture_pb2.GetSeenRequest(user=1), timeout=20)
            assert answer.pin_count == 0
            entities = np.array([1, 2], "<u8").tobytes()
            request = aperture_pb2.CountActionsRequest(user=1, entities_u64=entities, types=[3])  # type: ignore[list-item]
            assert stub.CountActions(request, timeout=20).counts_u16 == bytes(2 * 1 * 3 * 2)
            with pytest.raises(grpc.RpcError) as refused:
                stub.GetHistory(aperture_pb2.GetHistoryRequest(user=0), timeout=20)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    finally:
        assert leaf.stop()
