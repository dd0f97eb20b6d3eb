"""Every knob and limit of Rockstore."""

from __future__ import annotations

from dataclasses import field
from typing import Final, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG
from services.chassis.log.follower import FollowerConfig
from services.chassis.process import ProcessConfig
from services.rockstore.schema import Kind, Schema, Schemas

_MB: Final = 1 << 20
_DAY_S: Final = 86_400


@dataclass(frozen=True, config=CONFIG)
class SchemaConfig:
    """One version of a kind's feature row. Versions stay declared as long as rows of them may be stored."""

    kind: Literal["pin", "board", "user", "interest"]
    """Kind of the objects."""

    version: int = Field(ge=1)
    """1 or more; rows are answered under the greatest of their kind. A version's columns never change:
    declare the next one instead."""

    features: tuple[str, ...] = ()
    """Names of the float columns, in order."""

    defaults: tuple[float, ...] = ()
    """What an absent row, or a row from before the column, holds; one for each feature."""

    id_columns: tuple[str, ...] = ()
    """Names of the id columns, in order; their default is 0."""

    upgrades: dict[str, str] = Field(default_factory=dict)
    """Columns that got a new name: name in the version before = name in this one. Without it, a column
    keeps its values by name, an unknown name is a new column, and a missing one is dropped."""

    def build(self) -> Schema:
        """The domain's schema; raises ValueError with what is wrong."""
        return Schema(
            kind=Kind[self.kind.upper()],
            version=self.version,
            features=self.features,
            defaults=self.defaults,
            id_columns=self.id_columns,
            renames=self.upgrades,
        )

    def __post_init__(self) -> None:
        self.build()


PIN_SCHEMA: Final = SchemaConfig(
    kind="pin",
    version=1,
    features=("quality", "description_chars", "interest_count"),
    defaults=(0.5, 0.0, 0.0),
    id_columns=("board", "owner", "interest_0", "interest_1", "interest_2"),
)
"""What the demo writes and Scorpion's first features read; a deployment declares its own."""


@dataclass(frozen=True, config=CONFIG)
class MemoryConfig:
    """What the storage engine may spend."""

    block_cache_bytes: int = Field(default=256 * _MB, ge=_MB)
    """Cache of blocks read from files: of objects, and of rows that the row cache does not hold."""

    memtable_bytes: int = Field(default=64 * _MB, ge=_MB)
    """Writes that are not in files yet."""

    row_cache_bytes: int = Field(default=64 * _MB, ge=0)
    """Feature rows kept ready in memory, shared equally by the kinds that have schemas; a row takes its
    columns and 18 bytes. Memory is taken as it fills. 0: none are kept."""


@dataclass(frozen=True, config=CONFIG)
class RockstoreConfig:
    """The whole configuration of one Rockstore process."""

    process: ProcessConfig = field(default_factory=ProcessConfig)
    """Addresses, threads, directories."""

    follower: FollowerConfig = field(default_factory=FollowerConfig)
    """Following the log."""

    memory: MemoryConfig = field(default_factory=MemoryConfig)
    """Caches of the storage engine."""

    schemas: tuple[SchemaConfig, ...] = (PIN_SCHEMA,)
    """Feature rows, by kind and version. Given in the file, it replaces the default whole."""

    object_ids_max: int = Field(default=5_000, ge=1)
    """Ids of one GetObjects."""

    object_bytes_max: int = Field(default=16 * _MB, ge=1 << 16)
    """Bytes of objects in one answer; more is refused, as the caller would not get it through gRPC."""

    row_ids_max: int = Field(default=20_000, ge=1)
    """Ids of one GetFeatureRows."""

    gone_keep_s: int = Field(default=7 * _DAY_S, ge=0)
    """A delete holds off older puts that come late for this long, then its tombstone is purged; expired
    values are kept as long. Longer than a replica may lag, or replicas may differ."""

    purge_entries_max: int = Field(default=200, ge=1, le=2_000)
    """Tombstones and expired values purged with one batch of the follower, from one shard in turn."""

    generations_kept: int = Field(default=2, ge=1, le=100)
    """Generations of loaded rows, of each kind, that stay on the disk behind the live one: rollbacks lead
    to them."""

    def __post_init__(self) -> None:
        schemas = Schemas(schema.build() for schema in self.schemas)
        message_bytes_max = self.process.message_bytes_max
        if self.object_bytes_max > message_bytes_max:
            raise ValueError(
                f"object_bytes_max is {self.object_bytes_max}, must fit process.message_bytes_max "
                f"({message_bytes_max})"
            )
        for kind in Kind:
            newest = schemas.newest(kind)
            if newest is None:
                continue
            row_bytes = 4 * len(newest.features) + 8 * len(newest.id_columns) + 1
            if row_bytes * self.row_ids_max > message_bytes_max:
                raise ValueError(
                    f"row_ids_max is {self.row_ids_max}: as many {kind.name.lower()} rows of {row_bytes} "
                    f"bytes do not fit process.message_bytes_max ({message_bytes_max})"
                )
