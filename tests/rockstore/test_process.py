"""Claims about the whole service: followed from a log, ended without warning, served over a socket."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest
from prometheus_client.registry import CollectorRegistry

from feedmesh.log.v1 import record_pb2
from feedmesh.rockstore.v1 import rockstore_pb2, rockstore_pb2_grpc
from feedmesh.type.v1 import type_pb2
from services.chassis.clock import FakeClock
from services.chassis.leaf import LeafProcess
from services.chassis.log.follower import Follower, FollowerConfig
from services.chassis.log.follower_metrics import FollowerMetrics
from services.chassis.log.log import NewRecord
from services.chassis.log.memory import MemoryLog
from services.chassis.process import ProcessConfig
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Store
from services.rockstore.build import build, store_limits
from services.rockstore.config import RockstoreConfig
from services.rockstore.store import FAMILIES
from tests.rockstore.records import NOW_MS, Rockstore, open_rockstore, put_pin

OWNED = OwnedShards.everything(8)
PIN = type_pb2.OBJECT_KIND_PIN
ROW = {"features": [0.9, 120, 2], "ids": [11, 12, 13, 14, 15], "schema_version": 1}


def publish(log: MemoryLog, *records: record_pb2.Record) -> dict[tuple[str, int], int]:
    """Each record, with an id of its own, at the partition of its key."""
    new = []
    for number, record in enumerate(records):
        record.record_id = 1 + number + 1_000 * sum(log.end_offsets("objects"))
        new.append(NewRecord("objects", OWNED.shard_of(record.key), record.SerializeToString()))
    return log.publish(new).result()


def follower_of(rockstore: Rockstore, log: MemoryLog) -> Follower:
    follower = Follower(
        log=log,
        store=rockstore.raw,
        view=rockstore.view,
        owned=OWNED,
        config=FollowerConfig(poll_ms=10),
        metrics=FollowerMetrics(CollectorRegistry()),
        clock=FakeClock(),
    )
    follower.start()
    return follower


def titles(rockstore: Rockstore, *ids: int) -> list[str]:
    request = rockstore_pb2.GetObjectsRequest(kind=PIN, ids_u64=np.array(ids, "<u8").tobytes())
    return [found.pin.title for found in rockstore.servicer.GetObjects(request, None).objects]  # type: ignore[arg-type]


def test_a_follower_that_is_ended_goes_on_where_it_was(tmp_path: Path) -> None:
    log = MemoryLog({"objects": 8}, offset_step=3)
    rockstore = open_rockstore(tmp_path, owned=OWNED)
    follower = follower_of(rockstore, log)
    follower.wait_applied(publish(log, put_pin(1, version=5, title="first"), put_pin(2)), timeout_s=20)
    follower.stop()
    rockstore.close()
    written = publish(log, put_pin(1, version=4, title="late"), put_pin(2, time_ms=NOW_MS + 1, title="new"))
    rockstore = open_rockstore(tmp_path, owned=OWNED)
    follower = follower_of(rockstore, log)
    follower.wait_applied(written, timeout_s=20)
    follower.stop()
    assert titles(rockstore, 1, 2) == ["first", "new"]
    rockstore.close()


def test_who_waited_for_the_follower_reads_the_new_row_though_the_old_one_was_cached(tmp_path: Path) -> None:
    log = MemoryLog({"objects": 8})
    rockstore = open_rockstore(tmp_path, owned=OWNED)
    follower = follower_of(rockstore, log)
    for turn in range(30):
        row = {**ROW, "features": [float(turn), 0, 0]}
        puts = [put_pin(id, time_ms=NOW_MS + turn, **row) for id in (1, 2, 3)]  # type: ignore[arg-type]
        follower.wait_applied(publish(log, *puts), timeout_s=20)
        request = rockstore_pb2.GetFeatureRowsRequest(kind=PIN, ids_u64=np.array([1, 2, 3], "<u8").tobytes())
        answer = rockstore.servicer.GetFeatureRows(request, None)  # type: ignore[arg-type]
        assert np.frombuffer(answer.features_f32, "<f4").reshape(3, 3)[:, 0].tolist() == [turn] * 3
    follower.stop()
    rockstore.close()


def test_a_row_that_does_not_fit_goes_to_the_dead_letters(tmp_path: Path) -> None:
    log = MemoryLog({"objects": 8})
    rockstore = open_rockstore(tmp_path, owned=OWNED)
    follower = follower_of(rockstore, log)
    misfit = put_pin(1, features=[1.0], schema_version=1)
    follower.wait_applied(publish(log, misfit, put_pin(2, title="fits", **ROW)), timeout_s=20)  # type: ignore[arg-type]
    follower.stop()
    assert titles(rockstore, 1, 2) == ["", "fits"]
    assert log.end_offsets("dead-letters") == [1]
    rockstore.close()


def test_the_largest_batch_of_a_follower_fits_the_store(tmp_path: Path) -> None:
    """Every put with an expiry in both cells, beside a full purge; one entry too many ends the process."""
    config = RockstoreConfig(gone_keep_s=0)
    rockstore = open_rockstore(tmp_path, config=config)
    count = config.purge_entries_max * 8
    rockstore.follow(*(put_pin(id, ttl_seconds=1, **ROW) for id in range(1, count + 1)))  # type: ignore[arg-type]
    later_ms = NOW_MS + 10_000
    records = [
        put_pin(id, ttl_seconds=1, time_ms=later_ms, **ROW)  # type: ignore[arg-type]
        for id in range(10_000, 10_000 + config.follower.batch_records_max)
    ]
    batch = rockstore.raw.batch()
    changes = [change for change in map(rockstore.view.decode, records) if change is not None]
    rockstore.view.apply(changes, batch)
    assert len(batch) > 4 * config.follower.batch_records_max
    rockstore.close()
    with Store(tmp_path / "store", FAMILIES, limits=store_limits(config)) as raw:
        raw.write(batch)


def test_the_process_serves_over_grpc_without_a_log(tmp_path: Path) -> None:
    filled = open_rockstore(tmp_path, owned=OwnedShards.everything(64))
    filled.follow(put_pin(5, title="five", **ROW))  # type: ignore[arg-type]
    filled.close()
    process = ProcessConfig(listen="127.0.0.1:0", data_dir=tmp_path, catch_up_s_max=0.0, drain_linger_ms=0)
    # Nobody listens there: reads do not need the log.
    config = RockstoreConfig(process=process, follower=FollowerConfig(log="127.0.0.1:1"))
    leaf = LeafProcess("rockstore", config, build, segment="rockstore", registry=CollectorRegistry())
    leaf.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{leaf.port}") as channel:
            stub = rockstore_pb2_grpc.RockstoreServiceStub(channel)
            asked = np.array([5, 6], "<u8").tobytes()
            objects = stub.GetObjects(rockstore_pb2.GetObjectsRequest(kind=PIN, ids_u64=asked), timeout=10)
            rows = stub.GetFeatureRows(
                rockstore_pb2.GetFeatureRowsRequest(kind=PIN, ids_u64=asked), timeout=10
            )
            assert [found.pin.title for found in objects.objects] == ["five", ""]
            assert rows.present_u8 == b"\x01\x00"
            with pytest.raises(grpc.RpcError) as refused:
                stub.GetSchema(rockstore_pb2.GetSchemaRequest(), timeout=10)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    finally:
        leaf.stop()
