"""Claims about the whole service: followed from a log, ended without warning, served over a socket."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest
from prometheus_client.registry import CollectorRegistry

from feedmesh.counter.v1 import counter_pb2, counter_pb2_grpc
from feedmesh.log.v1 import record_pb2
from services.chassis.clock import FakeClock
from services.chassis.leaf import LeafProcess
from services.chassis.log.follower import Follower, FollowerConfig
from services.chassis.log.follower_metrics import FollowerMetrics
from services.chassis.log.log import NewRecord
from services.chassis.log.memory import MemoryLog
from services.chassis.process import ProcessConfig
from services.chassis.shards.owned import OwnedShards
from services.counter.__main__ import build
from services.counter.config import CounterConfig
from tests.counter.counting import Counter, counted, open_counter

OWNED = OwnedShards.everything(8)


def publish(log: MemoryLog, *records: record_pb2.Record) -> dict[tuple[str, int], int]:
    """Each record, with an id of its own, at the partition of its key."""
    new = []
    for number, record in enumerate(records):
        record.record_id = 1 + number + 1_000 * sum(log.end_offsets("counts"))
        new.append(NewRecord("counts", OWNED.shard_of(record.key), record.SerializeToString()))
    return log.publish(new).result()


def follower_of(counter: Counter, log: MemoryLog) -> Follower:
    follower = Follower(
        log=log,
        store=counter.raw,
        view=counter.view,
        owned=OWNED,
        config=FollowerConfig(poll_ms=10),
        metrics=FollowerMetrics(CollectorRegistry()),
        clock=FakeClock(),
    )
    follower.start()
    return follower


def test_a_follower_that_is_ended_and_started_again_counts_everything_once(tmp_path: Path) -> None:
    log = MemoryLog({"counts": 8}, offset_step=3)
    written = publish(log, *(counted(entity, action="save") for entity in range(1, 51)))
    counter = open_counter(tmp_path, owned=OWNED)
    follower = follower_of(counter, log)
    follower.wait_applied(written, timeout_s=20)
    follower.stop()
    written = publish(log, *(counted(entity, action="save") for entity in range(1, 51)))
    counter.raw.close()

    counter = open_counter(tmp_path, owned=OWNED)
    assert counter.counts(7, "saves") == [1]
    follower = follower_of(counter, log)
    follower.wait_applied(written, timeout_s=20)
    follower.stop()
    assert [counter.counts(entity, "saves") for entity in range(1, 51)] == [[2]] * 50
    counter.raw.close()


def test_poison_goes_to_the_dead_letters_and_the_rest_is_counted(tmp_path: Path) -> None:
    log = MemoryLog({"counts": 8})
    counter = open_counter(tmp_path, owned=OWNED)
    follower = follower_of(counter, log)
    written = publish(log, counted(5, 0, action="save"), counted(5, action="save"))
    follower.wait_applied(written, timeout_s=20)
    follower.stop()
    assert counter.counts(5, "saves") == [1]
    assert log.end_offsets("dead-letters") == [1]
    counter.raw.close()


def test_the_process_serves_over_grpc_without_a_log(tmp_path: Path) -> None:
    filled = open_counter(tmp_path / "store", owned=OwnedShards.everything(64))
    filled.follow(counted(5, action="save"))
    filled.raw.close()
    process = ProcessConfig(listen="127.0.0.1:0", data_dir=tmp_path, catch_up_s_max=0.0, drain_linger_ms=0)
    # Nobody listens there: reads do not need the log.
    config = CounterConfig(process=process, follower=FollowerConfig(log="127.0.0.1:1"))
    leaf = LeafProcess("counter", config, build, segment="counter", registry=CollectorRegistry())
    leaf.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{leaf.port}") as channel:
            stub = counter_pb2_grpc.CounterServiceStub(channel)
            asked = np.array([5, 6], "<u8").tobytes()
            answer = stub.GetCounts(
                counter_pb2.GetCountsRequest(entities_u64=asked, counters=["saves"]), timeout=10
            )
            assert np.frombuffer(answer.counts_f16, "<f2").tolist() == [1, 0]
            with pytest.raises(grpc.RpcError) as refused:
                stub.GetTop(counter_pb2.GetTopRequest(counter="likes"), timeout=10)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "saves" in (refused.value.details() or "")
    finally:
        leaf.stop()
