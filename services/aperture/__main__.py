"""`python -m services.aperture --config FILE`: read config, build, serve."""

from __future__ import annotations

from feedmesh.aperture.v1 import aperture_pb2_grpc
from services.aperture.config import ApertureConfig
from services.aperture.metrics import ApertureMetrics
from services.aperture.parts import make_parts
from services.aperture.service import ApertureServicer
from services.aperture.store import families
from services.chassis.columns import bloom
from services.chassis.lifecycle import Host, Leaf, serve_leaf
from services.chassis.log.connect import connect_follower
from services.chassis.storage import StorageMemory, Store

SERVICE_NAME = "feedmesh.aperture.v1.ApertureService"


def build(config: ApertureConfig, host: Host) -> Leaf:
    """Aperture over the store in `data_dir`."""
    memory = StorageMemory(block_cache_bytes=config.block_cache_bytes, memtable_bytes=config.memtable_bytes)
    store = Store(config.process.data_dir / "store", families(), memory=memory)
    metrics = ApertureMetrics(host.registry)
    parts = make_parts(config, store=store, owned=host.owned, metrics=metrics)
    servicer = ApertureServicer(
        reader=parts.reader, owned=host.owned, clock=host.clock, config=config, metrics=metrics
    )

    def warm() -> None:
        parts.view.load()
        bloom.warm()

    return Leaf(
        services=[(aperture_pb2_grpc.add_ApertureServiceServicer_to_server, servicer, SERVICE_NAME)],
        follower=connect_follower(host, config.follower, store=store, view=parts.view),
        warm=warm,
        close=store.close,
    )


if __name__ == "__main__":
    raise SystemExit(serve_leaf("aperture", ApertureConfig, build))
