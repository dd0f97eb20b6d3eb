"""RealPin as it runs: behind its follower and a real gRPC server."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from feedmesh.log.v1 import event_pb2, record_pb2
from feedmesh.realpin.v1 import realpin_pb2, realpin_pb2_grpc
from services.chassis.clock import FakeClock
from services.chassis.leaf import LeafProcess
from services.chassis.log.follower import Follower, FollowerConfig, FollowerMetrics
from services.chassis.log.log import NewRecord
from services.chassis.log.memory import MemoryLog
from services.chassis.process import ProcessConfig
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Store
from services.realpin.__main__ import build
from services.realpin.config import RealPinConfig
from services.realpin.declaration import default_signals
from services.realpin.ingest import RealPinView
from services.realpin.metrics import RealPinMetrics
from services.realpin.signals import SignalSet
from services.realpin.store import SignalStore, families

NOW = 1_700_000_000_000
USER = 42


def fill(path: Path) -> None:
    """Follow a log with one save and one poison record into the store at `path`."""
    owned = OwnedShards.everything(64)
    log = MemoryLog({"actions": 64})
    faults: list[BaseException] = []
    with Store(path, families()) as store:
        view = RealPinView(
            signals=SignalSet.from_config(default_signals()),
            store=SignalStore(store, owned),
            states_max=10,
            metrics=RealPinMetrics(CollectorRegistry()),
        )
        follower = Follower(
            log=log,
            store=store,
            view=view,
            owned=owned,
            config=FollowerConfig(poll_ms=10),
            metrics=FollowerMetrics(CollectorRegistry()),
            clock=FakeClock(NOW),
            on_fatal=faults.append,
        )
        follower.start()
        values = []
        for number, pin in enumerate((7, 0), start=1):
            event = event_pb2.Event(save_pin=event_pb2.SavePin(pin=pin, board=8, user=USER))
            one = record_pb2.Record(record_id=number, key=USER, time_ms=NOW, version=1, event=event)
            values.append(NewRecord("actions", owned.shard_of(USER), one.SerializeToString()))
        follower.wait_applied(log.publish(values).result(), timeout_s=10)
        follower.stop()
    assert not faults
    assert log.end_offsets("dead-letters") == [1]


@pytest.mark.timeout(120)
def test_what_was_followed_is_served_over_grpc_by_the_next_process(tmp_path: Path) -> None:
    fill(tmp_path / "store")
    process = ProcessConfig(listen="127.0.0.1:0", data_dir=tmp_path, catch_up_s_max=0, drain_linger_ms=0)
    config = RealPinConfig(process=process, follower=FollowerConfig(log="127.0.0.1:1"))
    leaf = LeafProcess("realpin", config, build, segment="realpin")
    leaf.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{leaf.port}") as channel:
            stub = realpin_pb2_grpc.RealPinServiceStub(channel)
            request = realpin_pb2.GetSignalsRequest(user=USER, names=["recent_pins"], now_ms=NOW)
            answer = stub.GetSignals(request, timeout=20)
            assert np.frombuffer(answer.signals[0].ids_u64, "<u8").tolist() == [7]
            assert len(stub.ListSignals(realpin_pb2.ListSignalsRequest(), timeout=20).names) == 7
            with pytest.raises(grpc.RpcError) as refused:
                stub.GetSignals(realpin_pb2.GetSignalsRequest(user=USER, names=["x"]), timeout=20)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    finally:
        assert leaf.stop()
