"""Every knob and limit of Polaris."""

from __future__ import annotations

from dataclasses import field
from typing import Final

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG
from services.chassis.log.follower_config import FollowerConfig
from services.chassis.process import ProcessConfig

_MB: Final = 1 << 20
BATCH_ENTRIES_MAX: Final = 20_000
"""What a store takes in one batch (`StoreLimits.batch_entries_max`)."""


@dataclass(frozen=True, config=CONFIG)
class MemoryConfig:
    """What the storage engine may spend; reads do not touch it after the start."""

    block_cache_bytes: int = Field(default=16 * _MB, ge=_MB)
    """Cache of blocks read from files."""

    memtable_bytes: int = Field(default=64 * _MB, ge=_MB)
    """Writes that are not in files yet."""


@dataclass(frozen=True, config=CONFIG)
class PolarisConfig:
    """The whole configuration of one Polaris process."""

    process: ProcessConfig = field(default_factory=ProcessConfig)
    """Addresses, threads, directories."""

    follower: FollowerConfig = field(default_factory=FollowerConfig)
    """Following the log."""

    memory: MemoryConfig = field(default_factory=MemoryConfig)
    """Caches of the storage engine."""

    half_life_s: float = Field(default=14 * 86_400.0, ge=3_600.0)
    """Time in which the light score of a board's pin halves. May change at a restart; alike on all hosts, or
    their scores cannot be compared."""

    interest_half_life_s: float = Field(default=14 * 86_400.0, ge=3_600.0)
    """Time in which the light score of an interest's pin halves, from when the pin was made. As `half_life_s`
    otherwise."""

    epoch_s: int = Field(default=1_767_225_600, ge=0)
    """Keys are relative to this second since 1970 (2026-01-01). The nearer to now, the finer a float32 key:
    9 s at 100 half lives of distance. May change at a restart."""

    quality_default: float = Field(default=0.5, gt=0.0, le=1.0)
    """Quality of a pin that is saved, or put into interests, without one."""

    pins_per_board_max: int = Field(default=32_768, ge=1, le=1 << 20)
    """Pins kept of one board: those with the best key; what falls off is deleted from the store too."""

    pins_max: int = Field(default=20_000_000, ge=1)
    """Pins of boards kept by this process, about 28 bytes of memory each. Past it the longest boards lose
    their worst pins."""

    pins_per_interest_max: int = Field(default=32_768, ge=1, le=1 << 20)
    """Pins kept of one interest, as `pins_per_board_max`."""

    interest_pins_max: int = Field(default=20_000_000, ge=1)
    """Pins of interests kept by this process, beside those of boards, as `pins_max`; a pin of three interests
    counts three times."""

    removal_kept_s: int = Field(default=30 * 86_400, ge=0)
    """How long it is remembered that a pin was taken out of an interest, at least: a word on it that was told
    before and comes later is then known to be old. 40 bytes on disk each, none in memory; older ones are
    dropped at a start."""

    shrink_pins: int = Field(default=2_000, ge=1, le=5_000)
    """Pins freed beyond what is needed when `pins_max` or `interest_pins_max` is reached."""

    slice_records: int = Field(default=64, ge=1, le=10_000)
    """Records applied under one hold of the writer's lock: bounds how long a reader waits for the follower
    (about 10 µs a slice; 2 ms when all go to boards of 32,768 pins)."""

    boards_max: int = Field(default=10_000, ge=1, le=65_535)
    """Boards, or interests, of one Retrieve; the row of a board travels as uint16."""

    excluded_max: int = Field(default=20_000, ge=0)
    """Pins to leave out exactly in one Retrieve."""

    bloom_bytes_max: int = Field(default=1 << 20, ge=64)
    """Bytes of the filter of seen pins in one Retrieve."""

    limit_default: int = Field(default=1_000, ge=1)
    """Pins of one answer to a Retrieve that names no limit."""

    limit_max: int = Field(default=10_000, ge=1)
    """Most pins of one answer of Retrieve."""

    list_default: int = Field(default=100, ge=1)
    """Pins of one answer to a ListPins that names no limit."""

    list_max: int = Field(default=10_000, ge=1)
    """Most pins of one answer of ListPins."""

    def __post_init__(self) -> None:
        # A saved pin may push another one out: two entries a record, and the shrinking of both kinds of lists
        # beside them.
        entries = 2 * self.follower.batch_records_max + self.follower.batch_records_max + 2 * self.shrink_pins
        if entries > BATCH_ENTRIES_MAX - 1_000:
            raise ValueError(
                f"follower.batch_records_max = {self.follower.batch_records_max} with shrink_pins = "
                f"{self.shrink_pins} could make batches of {entries} entries; the store takes "
                f"{BATCH_ENTRIES_MAX}"
            )
        for name in ("limit", "list"):
            if getattr(self, f"{name}_default") > getattr(self, f"{name}_max"):
                raise ValueError(f"{name}_default is above {name}_max")
