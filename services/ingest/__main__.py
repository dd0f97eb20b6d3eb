"""The Ingest process: config, build, serve."""

from __future__ import annotations

from feedmesh.ingest.v1 import ingest_pb2_grpc
from feedmesh.log.v1 import log_pb2_grpc
from services.chassis.lifecycle import Host, Leaf, serve_leaf
from services.chassis.log import embedded_store
from services.chassis.log.embedded import EmbeddedLog
from services.chassis.log.embedded_metrics import LogMetrics
from services.chassis.storage.options import StorageMemory
from services.chassis.storage.store import Store
from services.ingest import log_service, service
from services.ingest.config import IngestConfig
from services.ingest.log_service import LogServicer
from services.ingest.metrics import IngestMetrics
from services.ingest.records import RecordBuilder
from services.ingest.service import IngestServicer
from services.ingest.validate import EventValidator


def build(config: IngestConfig, host: Host) -> Leaf:
    """Open the log, and the two services over it."""
    memory = StorageMemory(
        block_cache_bytes=config.memory.block_cache_bytes, memtable_bytes=config.memory.memtable_bytes
    )
    store = Store(config.process.data_dir / "log", embedded_store.families(), memory=memory)
    log = EmbeddedLog(store, config.log, metrics=LogMetrics(host.registry))
    metrics = IngestMetrics(host.registry)
    ingest = IngestServicer(
        log,
        validator=EventValidator(config.limits),
        builder=RecordBuilder(partitions=config.log.partitions, scheme=config.process.shard_scheme),
        metrics=metrics,
        clock=host.clock,
    )
    tails = LogServicer(log, config, metrics=metrics, clock=host.clock)

    def close() -> None:
        log.close()
        store.close()

    return Leaf(
        services=[
            (ingest_pb2_grpc.add_IngestServiceServicer_to_server, ingest, service.FULL_NAME),
            (log_pb2_grpc.add_LogServiceServicer_to_server, tails, log_service.FULL_NAME),
        ],
        close=close,
    )


if __name__ == "__main__":
    raise SystemExit(serve_leaf("ingest", IngestConfig, build, sharded=False))
