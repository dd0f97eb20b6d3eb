"""The knobs of the embedded log; field `log` of Ingest's config."""

from __future__ import annotations

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG

BATCH_ENTRIES_MAX = 20_000
"""What `StoreLimits` lets into one write."""
_SPARE_ENTRIES = 2_000


@dataclass(frozen=True, config=CONFIG)
class EmbeddedLogConfig:
    """Sizes and bounds of the log. The partition count is fixed when the log is made."""

    partitions: int = Field(default=64, ge=1, le=128)
    """Partitions of each data topic. Must divide num_shards of every segment; never changes. At most 128:
    the token of one publish may have to name every partition of five topics, in 6 KB."""

    group_records_max: int = Field(default=5_000, gt=0)
    """Records of one group commit, beyond the first request: larger batches hold the GIL too long."""

    group_bytes_max: int = Field(default=4 << 20, gt=0)
    """Bytes of one group commit, beyond the first request."""

    request_records_max: int = Field(default=16_000, gt=0, le=BATCH_ENTRIES_MAX - _SPARE_ENTRIES)
    """Records of one publish, which must fit into one atomic write."""

    request_bytes_max: int = Field(default=16 << 20, gt=0, le=32 << 20)
    """Bytes of one publish."""

    queue_records_max: int = Field(default=100_000, gt=0)
    """Records that may wait for the disk; one more publish is refused."""

    queue_bytes_max: int = Field(default=64 << 20, gt=0)
    """Bytes that may wait for the disk."""

    recent_bytes_max: int = Field(default=64 << 20, gt=0)
    """Bytes of committed groups kept in memory for tails at the tip; older ones read from disk."""

    chunk_bytes: int = Field(default=1 << 20, gt=0, le=4 << 20)
    """Bytes of one poll of a tail, about, unless the reader asks for less."""

    disk_free_bytes_min: int = Field(default=256 << 20, ge=0)
    """Refuse publishes when the disk has less room: a database needs some to compact and to recover."""

    def __post_init__(self) -> None:
        if self.group_records_max > BATCH_ENTRIES_MAX - _SPARE_ENTRIES:
            raise ValueError(f"group_records_max must be at most {BATCH_ENTRIES_MAX - _SPARE_ENTRIES}")
        if self.queue_records_max < self.request_records_max or self.queue_bytes_max < self.request_bytes_max:
            raise ValueError(
                "the queue must hold at least one request: raise queue_*_max or lower request_*_max"
            )
