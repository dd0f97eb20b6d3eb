"""`python -m services.realpin --config FILE`: read config, build, serve."""

from __future__ import annotations

from feedmesh.realpin.v1 import realpin_pb2_grpc
from services.chassis.lifecycle import Host, Leaf, serve_leaf
from services.chassis.log.connect import connect_follower
from services.chassis.storage import StorageMemory, Store
from services.realpin.config import RealPinConfig
from services.realpin.ingest import RealPinView
from services.realpin.metrics import RealPinMetrics
from services.realpin.service import RealPinServicer
from services.realpin.signals import SignalSet
from services.realpin.store import SignalStore, families

SERVICE_NAME = "feedmesh.realpin.v1.RealPinService"


def build(config: RealPinConfig, host: Host) -> Leaf:
    """RealPin over the store in `data_dir`."""
    memory = StorageMemory(block_cache_bytes=config.block_cache_bytes, memtable_bytes=config.memtable_bytes)
    store = Store(config.process.data_dir / "store", families(), memory=memory)
    metrics = RealPinMetrics(host.registry)
    signals = SignalSet.from_config(config.signals)
    states = SignalStore(store, host.owned)
    view = RealPinView(signals=signals, store=states, states_max=config.states_max, metrics=metrics)
    servicer = RealPinServicer(
        signals=signals, store=states, owned=host.owned, clock=host.clock, metrics=metrics
    )
    return Leaf(
        services=[(realpin_pb2_grpc.add_RealPinServiceServicer_to_server, servicer, SERVICE_NAME)],
        follower=connect_follower(host, config.follower, store=store, view=view),
        close=store.close,
    )


if __name__ == "__main__":
    raise SystemExit(serve_leaf("realpin", RealPinConfig, build))
