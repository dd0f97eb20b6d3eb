"""Polaris as a process: `python -m services.polaris --config deploy/config/polaris.toml`."""

from __future__ import annotations

from feedmesh.polaris.v1 import polaris_pb2_grpc
from services.chassis.lifecycle import Host, Leaf, serve_leaf
from services.chassis.log.connect import connect_follower
from services.chassis.storage import StorageMemory, Store
from services.polaris import retrieval, store
from services.polaris.config import PolarisConfig
from services.polaris.ingest import PinsView
from services.polaris.lists import Lists
from services.polaris.metrics import PolarisMetrics
from services.polaris.service import PolarisServicer


def build(config: PolarisConfig, host: Host) -> Leaf:
    """Polaris in its surroundings."""
    memory = StorageMemory(
        block_cache_bytes=config.memory.block_cache_bytes, memtable_bytes=config.memory.memtable_bytes
    )
    database = Store(config.process.data_dir / "store", store.families(), memory=memory)
    lists = Lists.empty(config)
    metrics = PolarisMetrics(host.registry, lists)
    view = PinsView(lists, metrics, config=config, owned=host.owned, database=database)
    servicer = PolarisServicer(lists, metrics, config=config, owned=host.owned, clock=host.clock)

    def warm() -> None:
        retrieval.warm(lists.boards.scale)
        store.load(database, lists, removals_before_ms=host.clock.now_ms() - config.removal_kept_s * 1000)
        for each in (lists.boards, lists.interests):
            arena = each.arena
            host.log.info(
                "loaded", kind=each.kind, pins=arena.pin_count, lists=arena.board_count, bytes=arena.nbytes
            )

    add = polaris_pb2_grpc.add_PolarisServiceServicer_to_server
    return Leaf(
        [(add, servicer, "feedmesh.polaris.v1.PolarisService")],
        follower=connect_follower(host, config.follower, store=database, view=view),
        warm=warm,
        close=database.close,
    )


if __name__ == "__main__":
    raise SystemExit(serve_leaf("polaris", PolarisConfig, build))
