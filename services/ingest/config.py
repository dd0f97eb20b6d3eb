"""Every knob and limit of Ingest."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Final, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG
from services.chassis.log.embedded_config import EmbeddedLogConfig
from services.chassis.log.kafka.config import KafkaConfig, check_kind
from services.chassis.process import ProcessConfig

_MB: Final = 1 << 20


@dataclass(frozen=True, config=CONFIG)
class EventLimits:
    """What one Publish may hold."""

    events_max: int = Field(default=1_000, ge=1, le=1_000)
    """Events of one request."""

    request_bytes_max: int = Field(default=4 * _MB, ge=1 << 10, le=4 * _MB)
    """Bytes of one request."""

    event_bytes_max: int = Field(default=256 << 10, ge=1 << 10, le=900_000)
    """Bytes of one event. A record must fit into a dead letter of 1 MiB, with the reason."""

    id_bytes_max: int = Field(default=64, ge=8, le=64)
    """Bytes of an event's id."""

    future_ms_max: int = Field(default=300_000, ge=0)
    """How far an event's time may lie ahead of this process's clock."""

    interests_max: int = Field(default=16, ge=0, le=16)
    """Interests of one pin."""

    pins_max: int = Field(default=1_000, ge=1, le=1_000)
    """Pins of one impressions event."""

    features_max: int = Field(default=4_096, ge=0)
    """Columns of one feature row, floats and ids each."""

    faults_shown_max: int = Field(default=10, ge=1, le=15)
    """Faults that a refusal spells out; it counts the others. The text travels in trailing metadata, of
    which gRPC carries 8 KB."""


@dataclass(frozen=True, config=CONFIG)
class MemoryConfig:
    """What the storage engine may spend."""

    block_cache_bytes: int = Field(default=64 * _MB, ge=_MB)
    """Cache of blocks read from files: for tails that are behind."""

    memtable_bytes: int = Field(default=64 * _MB, ge=_MB)
    """Writes that are not in files yet."""


def _process() -> ProcessConfig:
    return ProcessConfig(listen="127.0.0.1:7001", threads=32, data_dir=Path("feedmesh-data/ingest"))


@dataclass(frozen=True, config=CONFIG)
class IngestConfig:
    """The whole configuration of one Ingest process."""

    process: ProcessConfig = field(default_factory=_process)
    """Addresses, threads, directories. Each Publish holds one of `threads` until its records are durable,
    so `threads` bounds how many requests one group commit can gather. Each follower holds one of
    `streams_max`. `shard_scheme` must be that of all segments; `num_shards` is not used."""

    log_kind: Literal["embedded", "kafka"] = "embedded"
    """Where the log is: in this process, or in Kafka. The same for every process of a mesh."""

    log: EmbeddedLogConfig = field(default_factory=EmbeddedLogConfig)
    """The embedded log; used with log_kind = embedded."""

    kafka: KafkaConfig = field(default_factory=KafkaConfig)
    """The log in Kafka; used with log_kind = kafka. Several Ingest may write it, each under its own name."""

    limits: EventLimits = field(default_factory=EventLimits)
    """What one Publish may hold."""

    memory: MemoryConfig = field(default_factory=MemoryConfig)
    """Caches of the storage engine."""

    sign_of_life_ms: int = Field(default=1_000, ge=50, le=2_000)
    """A tail without news says so this often; followers give a silent one up after 5 s."""

    tail_partitions_max: int = Field(default=65_536, ge=1, le=65_536)
    """Partitions of one tail."""

    dead_letter_bytes_max: int = Field(default=_MB, ge=1 << 10, le=4 * _MB)
    """Bytes of one dead letter."""

    answer_reserve_ms: int = Field(default=50, ge=0)
    """A Publish that is not durable so long before its deadline is answered then, at most a tenth of its time
    before: the reason must reach the caller, who would otherwise learn of a deadline and no more."""

    def __post_init__(self) -> None:
        """Checks that the brokers are named where they are needed."""
        check_kind(self.log_kind, self.kafka.connection, key="kafka.connection.bootstrap")
