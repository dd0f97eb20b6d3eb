"""Every knob and limit of Aperture. Loaded by the chassis."""

from __future__ import annotations

from typing import Final

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG
from services.chassis.log.follower_config import FollowerConfig
from services.chassis.process import ProcessConfig

SECONDS_PER_HOUR: Final = 3_600
SECONDS_PER_DAY: Final = 86_400
BATCH_RECORDS_MAX: Final = 2_000
"""A record holds up to 1,000 rows of 16 bytes: this many fill half of what a storage batch may hold, and what
is spilled and frozen beside them fits into the rest."""


@dataclass(frozen=True, config=CONFIG)
class ApertureConfig:
    """Aperture's configuration."""

    process: ProcessConfig = ProcessConfig(listen="127.0.0.1:7004")
    """Addresses, threads, draining."""

    follower: FollowerConfig = FollowerConfig()
    """How the topic `actions` is followed. `batch_records_max` is 2,000 at most."""

    bucket_hours: int = Field(default=24, ge=1, le=24 * 7)
    """Length of a time bucket. Never changes once data is stored."""

    freeze_after_hours: int = Field(default=6, ge=0, le=24 * 30)
    """A bucket is closed this long after its end: until then late rows cost nothing extra."""

    retention_days: int = Field(default=180, ge=1, le=366)
    """Rows older than this are not answered; buckets that are older as a whole are dropped."""

    mutable_bytes_max: int = Field(default=256 << 20, ge=1 << 20)
    """Memory of mutable buckets. Beyond it, the largest lanes are spilled to tails."""

    lane_bytes_max: int = Field(default=2 << 20, ge=1 << 10, le=16 << 20)
    """A lane (a quarter of a shard's users) of more is spilled: bounds how long that holds the follower."""

    lane_pieces_max: int = Field(default=1_500, ge=1, le=3_000)
    """A lane with more user buckets is spilled."""

    spill_pieces_max: int = Field(default=4_000, ge=1, le=4_000)
    """User buckets spilled in one batch; at least one lane is."""

    spill_bytes_max: int = Field(default=16 << 20, ge=1 << 10, le=16 << 20)
    """Bytes spilled in one batch; at least one lane is."""

    freeze_buckets_max: int = Field(default=32, ge=1, le=500)
    """Buckets that the freezer closes, and retention drops, in one slice: about 0.1 ms each."""

    freeze_every_batches: int = Field(default=32, ge=1)
    """The freezer works while no record waits; where they never cease, it takes a slice in every so many
    batches."""

    freeze_bytes_max: int = Field(default=4 << 20, ge=1 << 10, le=8 << 20)
    """Bytes that the freezer reads in one batch; of one user's bucket, too: a larger one stays as tails."""

    settled_cache_bytes: int = Field(default=128 << 20, ge=0)
    """Memory for rows of users that were read, 41 bytes each: a user of 10,000 takes 0.4 MB."""

    seen_filter_cache_bytes: int = Field(default=64 << 20, ge=0)
    """Memory for seen filters that were answered, to which only what was seen since is added: 16 KB for a
    user of 10,000, and 80 bytes for each pin seen lately."""

    user_rows_max: int = Field(default=200_000, ge=1_000, le=5_000_000)
    """Rows of one user that a read takes from the store, newest first; of more, the oldest are not seen."""

    seen_pins_max: int = Field(default=50_000, ge=1, le=500_000)
    """Largest seen set; the newest stay, and the answer says that it was cut."""

    history_rows_max: int = Field(default=10_000, ge=1, le=10_000)
    """Largest page of GetHistory."""

    count_entities_max: int = Field(default=10_000, ge=1, le=10_000)
    """Most entities of one CountActions."""

    block_cache_bytes: int = Field(default=64 << 20, ge=1 << 20)
    """Cache of the store's blocks."""

    memtable_bytes: int = Field(default=64 << 20, ge=1 << 20)
    """Memory for what was just written to the store."""

    def __post_init__(self) -> None:
        if self.follower.batch_records_max > BATCH_RECORDS_MAX:
            raise ValueError(
                f"follower.batch_records_max {self.follower.batch_records_max} is over {BATCH_RECORDS_MAX}"
            )
        if self.follower.batch_records_max > self.spill_pieces_max:
            raise ValueError(
                f"spill_pieces_max {self.spill_pieces_max} is less than follower.batch_records_max "
                f"{self.follower.batch_records_max}: memory could grow faster than it is spilled"
            )

    @property
    def bucket_s(self) -> int:
        """Seconds of a bucket."""
        return self.bucket_hours * SECONDS_PER_HOUR

    @property
    def retention_s(self) -> int:
        """Seconds of retention."""
        return self.retention_days * SECONDS_PER_DAY
