"""Polaris as a process: `python -m services.polaris --config deploy/config/polaris.toml`."""

from __future__ import annotations

from feedmesh.polaris.v1 import polaris_pb2_grpc
from services.chassis.lifecycle import Host, Leaf, serve_leaf
from services.chassis.log.connect import connect_follower
from services.chassis.storage import StorageMemory, Store
from services.polaris import retrieval, store
from services.polaris.arena import Arena
from services.polaris.config import PolarisConfig
from services.polaris.ingest import PinsView
from services.polaris.light_score import LightScale
from services.polaris.metrics import PolarisMetrics
from services.polaris.service import PolarisServicer


def build(config: PolarisConfig, host: Host) -> Leaf:
    """Polaris in its surroundings."""
    memory = StorageMemory(
        block_cache_bytes=config.memory.block_cache_bytes, memtable_bytes=config.memory.memtable_bytes
    )
    database = Store(config.process.data_dir / "store", store.families(), memory=memory)
    scale = LightScale(half_life_s=config.half_life_s, epoch_s=config.epoch_s)
    arena = Arena(pins_per_board_max=config.pins_per_board_max, pins_max=config.pins_max)
    metrics = PolarisMetrics(host.registry, arena)
    view = PinsView(arena, metrics, config=config, owned=host.owned, scale=scale)
    servicer = PolarisServicer(arena, metrics, config=config, owned=host.owned, scale=scale, clock=host.clock)

    def warm() -> None:
        retrieval.warm(scale)
        store.load(database, arena, scale)
        host.log.info("loaded", pins=arena.pin_count, boards=arena.board_count, bytes=arena.nbytes)

    add = polaris_pb2_grpc.add_PolarisServiceServicer_to_server
    return Leaf(
        [(add, servicer, "feedmesh.polaris.v1.PolarisService")],
        follower=connect_follower(host, config.follower, store=database, view=view),
        warm=warm,
        close=database.close,
    )


if __name__ == "__main__":
    raise SystemExit(serve_leaf("polaris", PolarisConfig, build))
