"""Starts one Counter process: `python -m services.counter --config deploy/config/counter.toml`."""

from __future__ import annotations

from typing import Final

from feedmesh.counter.v1 import counter_pb2, counter_pb2_grpc
from services.chassis.host import Host, Leaf
from services.chassis.lifecycle import serve_leaf
from services.chassis.log.connect import connect_follower
from services.chassis.storage import StorageMemory, Store, StoreLimits
from services.counter.config import CounterConfig
from services.counter.counters import Counters
from services.counter.ingest import CountsView
from services.counter.metrics import CounterMetrics
from services.counter.service import CounterServicer
from services.counter.store import FAMILIES, CounterStore
from services.counter.table import CounterTable, warm

FULL_NAME: Final = counter_pb2.DESCRIPTOR.services_by_name["CounterService"].full_name
# One batch of the follower may change as many rows as its records pack entities. A log chunk of 4 MiB holds
# half a million of them (8 bytes each); a batch over the limit would end the process.
LIMITS: Final = StoreLimits(batch_entries_max=1 << 20, batch_bytes_max=256 << 20)


def build(config: CounterConfig, host: Host) -> Leaf:
    """The table over its store, the view that fills both, and the servicer that reads the table."""
    counters = Counters([declared.build() for declared in config.counters])
    memory = StorageMemory(
        block_cache_bytes=config.memory.block_cache_bytes, memtable_bytes=config.memory.memtable_bytes
    )
    store = Store(config.process.data_dir / "store", FAMILIES, memory=memory, limits=LIMITS)
    metrics = CounterMetrics(host.registry)
    table = CounterTable(counters, config.table_limits)
    view = CountsView(table, CounterStore(store, counters, host.owned), counters, metrics, host.owned)
    servicer = CounterServicer(table, counters, metrics, config=config, owned=host.owned, clock=host.clock)

    def warm_and_load() -> None:
        warm(counters)
        view.load()

    def close() -> None:
        table.close()
        store.close()

    return Leaf(
        services=[(counter_pb2_grpc.add_CounterServiceServicer_to_server, servicer, FULL_NAME)],
        follower=connect_follower(host, config.follower, store=store, view=view),
        warm=warm_and_load,
        close=close,
    )


if __name__ == "__main__":
    raise SystemExit(serve_leaf("counter", CounterConfig, build))
