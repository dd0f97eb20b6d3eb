"""Apiary as a process: `python -m services.apiary --config deploy/config/apiary.toml`."""

from __future__ import annotations

from functools import partial

from feedmesh.apiary.v1 import apiary_pb2_grpc
from services.apiary.cache import ColumnCache, PendingBatch
from services.apiary.clients import OtherHosts
from services.apiary.config import ApiaryConfig
from services.apiary.ingest import GraphView
from services.apiary.metrics import ApiaryMetrics
from services.apiary.service import ApiaryServicer
from services.apiary.store import GraphStore, families
from services.chassis.lifecycle import Host, Leaf, serve_leaf
from services.chassis.log.connect import connect_follower
from services.chassis.storage import StorageMemory, Store


def build(config: ApiaryConfig, host: Host) -> Leaf:
    """Apiary in its surroundings."""
    memory = config.memory
    engine = StorageMemory(block_cache_bytes=memory.block_cache_bytes, memtable_bytes=memory.memtable_bytes)
    database = Store(config.process.data_dir / "store", families(), memory=engine)
    store = GraphStore(database, host.owned)
    metrics = ApiaryMetrics(host.registry)
    pending = PendingBatch(store.last_batch)
    graphs = ColumnCache(
        pending, partial(store.user_graph, limits=config.graph_limits), bytes_max=memory.follows_cache_bytes
    )
    boards = ColumnCache(
        pending,
        partial(store.owned_boards, edges_max=config.boards_per_owner_max),
        bytes_max=memory.boards_cache_bytes,
    )
    metrics.watch("follows", graphs)
    metrics.watch("boards", boards)
    view = GraphView(store, pending, metrics, owned=host.owned, forget_edges_max=config.forget_edges_max)
    servicer = ApiaryServicer(
        store,
        graphs,
        boards,
        OtherHosts(host.router),
        metrics,
        deleted=lambda: view.deleted,
        config=config,
        owned=host.owned,
    )
    add = apiary_pb2_grpc.add_ApiaryServiceServicer_to_server
    return Leaf(
        [(add, servicer, "feedmesh.apiary.v1.ApiaryService")],
        follower=connect_follower(host, config.follower, store=database, view=view),
        close=database.close,
    )


if __name__ == "__main__":
    raise SystemExit(serve_leaf("apiary", ApiaryConfig, build))
