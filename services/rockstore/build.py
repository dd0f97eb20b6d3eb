"""How the parts of one Rockstore process are put together; `assemble` needs neither a log nor a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from prometheus_client.registry import CollectorRegistry

from feedmesh.rockstore.v1 import admin_pb2, admin_pb2_grpc, rockstore_pb2, rockstore_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.host import Host, Leaf
from services.chassis.log.connect import connect_follower
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import StorageMemory, Store, StoreLimits
from services.rockstore.config import RockstoreConfig
from services.rockstore.ingest import ObjectsView, batch_entries_max
from services.rockstore.loads.admin_service import RockstoreAdminServicer
from services.rockstore.loads.generations import Generations
from services.rockstore.loads.staging import Loader
from services.rockstore.metrics import RockstoreMetrics
from services.rockstore.rows import FeatureRowStore, warm
from services.rockstore.schema import Schemas
from services.rockstore.service import RockstoreServicer
from services.rockstore.store import FAMILIES, RockstoreStore
from services.rockstore.warming import RowWarming

FULL_NAME: Final = rockstore_pb2.DESCRIPTOR.services_by_name["RockstoreService"].full_name
ADMIN_NAME: Final = admin_pb2.DESCRIPTOR.services_by_name["RockstoreAdminService"].full_name


@dataclass(frozen=True)
class Parts:
    """One process without its log and its server."""

    raw: Store
    store: RockstoreStore
    generations: Generations
    rows: FeatureRowStore
    view: ObjectsView
    servicer: RockstoreServicer
    admin: RockstoreAdminServicer
    warming: RowWarming

    def close(self) -> None:
        """Release every file; no call and no follower is left."""
        self.warming.stop()
        self.generations.close()
        self.raw.close()


def build(config: RockstoreConfig, host: Host) -> Leaf:
    """What the process serves, follows, warms and closes."""
    schemas = Schemas(declared.build() for declared in config.schemas)
    parts = assemble(
        config, schemas, owned=host.owned, clock=host.clock, registry=host.registry, log=host.log
    )

    def warm_up() -> None:
        warm(schemas)
        parts.warming.start()

    return Leaf(
        services=[
            (rockstore_pb2_grpc.add_RockstoreServiceServicer_to_server, parts.servicer, FULL_NAME),
            (admin_pb2_grpc.add_RockstoreAdminServiceServicer_to_server, parts.admin, ADMIN_NAME),
        ],
        follower=connect_follower(host, config.follower, store=parts.raw, view=parts.view),
        warm=warm_up,
        close=parts.close,
    )


def assemble(
    config: RockstoreConfig,
    schemas: Schemas,
    *,
    owned: OwnedShards,
    clock: Clock,
    registry: CollectorRegistry,
    log: Any = None,
) -> Parts:
    """The stores below `config.process.data_dir`, what fills them, and what reads them."""
    metrics = RockstoreMetrics(registry)
    memory = StorageMemory(
        block_cache_bytes=config.memory.block_cache_bytes, memtable_bytes=config.memory.memtable_bytes
    )
    data_dir = config.process.data_dir
    raw, generations = _open(data_dir, config, memory)
    store = RockstoreStore(raw, num_shards=owned.num_shards, scheme=owned.scheme)
    rows = FeatureRowStore(
        store,
        schemas,
        generations,
        cache_bytes=config.memory.row_cache_bytes,
        evicted=metrics.evicted,
    )
    metrics.cache_rows.set_function(lambda: rows.cached_count)
    metrics.cache_bytes.set_function(lambda: rows.cached_bytes)
    view = ObjectsView(
        store,
        schemas,
        metrics,
        rows=rows,
        covers=generations.covers,
        owned_shards=owned.shards.tolist(),
        gone_keep_ms=config.gone_keep_s * 1000,
        purge_entries_max=config.purge_entries_max,
    )
    servicer = RockstoreServicer(store, schemas, metrics, rows=rows, config=config, owned=owned, clock=clock)
    admin = RockstoreAdminServicer(
        generations, Loader(generations, schemas, owned, memory=memory), metrics, owned=owned
    )
    warming = RowWarming(store, schemas, rows, owned=owned, clock=clock, log=log or structlog.get_logger())
    return Parts(raw, store, generations, rows, view, servicer, admin, warming)


def store_limits(config: RockstoreConfig) -> StoreLimits:
    """What the greatest batch of the follower needs."""
    return StoreLimits(
        batch_entries_max=batch_entries_max(
            records_max=config.follower.batch_records_max, purge_entries_max=config.purge_entries_max
        )
    )


def _open(data_dir: Path, config: RockstoreConfig, memory: StorageMemory) -> tuple[Store, Generations]:
    raw = Store(data_dir / "store", FAMILIES, memory=memory, limits=store_limits(config))
    try:
        return raw, Generations(data_dir / "generations", memory=memory, kept_max=config.generations_kept)
    except BaseException:
        # The files stay locked otherwise, and the next start of this process fails with another reason.
        raw.close()
        raise
