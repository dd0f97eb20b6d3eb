"""The knobs of followers; field `follower` of each leaf's config."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG
from services.chassis.log.kafka.config import KafkaReaderConfig, check_kind


@dataclass(frozen=True, config=CONFIG)
class FollowerConfig:
    """How a follower reads, applies and gives up."""

    log_kind: Literal["embedded", "kafka"] = "embedded"
    """Where the log is: with Ingest, or in Kafka. The same for every process of a mesh."""

    log: str = "127.0.0.1:7001"
    """host:port of Ingest, which serves the embedded log."""

    kafka: KafkaReaderConfig = KafkaReaderConfig()
    """The brokers, and how to fetch from them; used with log_kind = kafka."""

    poll_ms: int = Field(default=200, gt=0)
    """Longest wait for records before the thread looks whether it should stop."""

    upkeep_pause_ms: int = Field(default=20, gt=0)
    """How long records are waited for between two slices of a view's own work, such as Aperture's freezing:
    with slices of 5 ms, a fifth of one processor while there is any."""

    batch_records_max: int = Field(default=2_000, gt=0, le=10_000)
    """Most records applied in one storage batch: bounds how long readers wait for the writer."""

    dedup_window: int = Field(default=8_192, ge=1, le=1 << 20)
    """Record ids remembered per partition; 24 bytes each in memory, rounded up to a power of two."""

    backoff_ms: int = Field(default=50, gt=0)
    """First wait after the log or the store failed; doubles each time."""

    backoff_ms_max: int = Field(default=2_000, gt=0)
    """Longest wait between two attempts."""

    write_attempts_max: int = Field(default=150, gt=0)
    """Attempts to write one batch before the process exits with a fault (about five minutes of a full disk).
    Until then reads are served from what is applied."""

    stale_after_ms: int = Field(default=2_000, gt=0)
    """Answers are marked with the log's silence when it is longer than this; the embedded log gives a sign of
    life every second."""

    begin_trimmed: bool = False
    """True lets an empty store follow a log whose beginning was trimmed: it will lack what was trimmed.
    False: such a replica must start from a checkpoint, and refuses the shards of what was trimmed."""

    def __post_init__(self) -> None:
        """Checks that the brokers are named where they are needed."""
        check_kind(self.log_kind, self.kafka.connection, key="kafka.connection.bootstrap")
