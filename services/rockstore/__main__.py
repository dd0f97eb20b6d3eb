"""Starts one Rockstore process: `python -m services.rockstore --config deploy/config/rockstore.toml`."""

from __future__ import annotations

from typing import Final

from feedmesh.rockstore.v1 import rockstore_pb2, rockstore_pb2_grpc
from services.chassis.host import Host, Leaf
from services.chassis.lifecycle import serve_leaf
from services.chassis.log.connect import connect_follower
from services.chassis.storage import StorageMemory, Store, StoreLimits
from services.rockstore.config import RockstoreConfig
from services.rockstore.ingest import ENTRIES_PER_CHANGE, ENTRIES_PER_PURGE, ObjectsView
from services.rockstore.metrics import RockstoreMetrics
from services.rockstore.schema import Schemas
from services.rockstore.service import RockstoreServicer
from services.rockstore.store import FAMILIES, RockstoreStore

FULL_NAME: Final = rockstore_pb2.DESCRIPTOR.services_by_name["RockstoreService"].full_name
FOLLOWER_ENTRIES_MAX: Final = 20_000
"""Room in a batch for the follower's offsets and recent ids."""


def build(config: RockstoreConfig, host: Host) -> Leaf:
    """The store, the view that fills it, and the servicer that reads it."""
    schemas = Schemas(declared.build() for declared in config.schemas)
    memory = StorageMemory(
        block_cache_bytes=config.memory.block_cache_bytes, memtable_bytes=config.memory.memtable_bytes
    )
    raw = Store(config.process.data_dir / "store", FAMILIES, memory=memory, limits=store_limits(config))
    store = RockstoreStore(raw, num_shards=host.owned.num_shards, scheme=host.owned.scheme)
    metrics = RockstoreMetrics(host.registry)
    view = ObjectsView(
        store,
        schemas,
        metrics,
        owned_shards=host.owned.shards.tolist(),
        gone_keep_ms=config.gone_keep_s * 1000,
        purge_entries_max=config.purge_entries_max,
    )
    servicer = RockstoreServicer(store, schemas, metrics, config=config, owned=host.owned, clock=host.clock)
    return Leaf(
        services=[(rockstore_pb2_grpc.add_RockstoreServiceServicer_to_server, servicer, FULL_NAME)],
        follower=connect_follower(host, config.follower, store=raw, view=view),
        close=raw.close,
    )


def store_limits(config: RockstoreConfig) -> StoreLimits:
    """What the greatest batch of the follower needs."""
    # A batch over the limit would end the process, so the limit follows from what may be in one.
    changes = config.follower.batch_records_max * ENTRIES_PER_CHANGE
    purged = config.purge_entries_max * ENTRIES_PER_PURGE
    return StoreLimits(batch_entries_max=changes + purged + FOLLOWER_ENTRIES_MAX)


if __name__ == "__main__":
    raise SystemExit(serve_leaf("rockstore", RockstoreConfig, build))
