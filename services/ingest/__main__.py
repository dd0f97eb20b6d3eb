"""The Ingest process: config, build, serve."""

from __future__ import annotations

from feedmesh.ingest.v1 import ingest_pb2_grpc
from feedmesh.log.v1 import log_pb2_grpc
from services.chassis.lifecycle import Host, Leaf, serve_leaf
from services.ingest import log_service, service
from services.ingest.config import IngestConfig
from services.ingest.log_service import LogServicer
from services.ingest.logs import open_log
from services.ingest.metrics import IngestMetrics
from services.ingest.records import RecordBuilder
from services.ingest.service import IngestServicer
from services.ingest.validate import EventValidator


def build(config: IngestConfig, host: Host) -> Leaf:
    """Open the log, and the two services over it."""
    opened = open_log(config, host)
    metrics = IngestMetrics(host.registry)
    ingest = IngestServicer(
        opened.log,
        validator=EventValidator(config.limits),
        builder=RecordBuilder(partitions=opened.partitions, scheme=config.process.shard_scheme),
        metrics=metrics,
        clock=host.clock,
        answer_reserve_ms=config.answer_reserve_ms,
    )
    tails = LogServicer(opened.log, config, metrics=metrics, clock=host.clock)
    return Leaf(
        services=[
            (ingest_pb2_grpc.add_IngestServiceServicer_to_server, ingest, service.FULL_NAME),
            (log_pb2_grpc.add_LogServiceServicer_to_server, tails, log_service.FULL_NAME),
        ],
        warm=opened.warm,
        close=opened.close,
    )


if __name__ == "__main__":
    raise SystemExit(serve_leaf("ingest", IngestConfig, build, sharded=False))
