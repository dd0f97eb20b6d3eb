"""Loads as they are prepared, small."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from services.chassis.ids import ShardScheme
from services.rockstore.loads.prepared import LoadManifest
from services.rockstore.loads.preparing import LoadSpec, RowBatch, prepare
from services.rockstore.loads.staging import Loader
from services.rockstore.schema import Kind, Schema
from tests.rockstore.records import NOW_MS, Rockstore

SCHEMA = Schema(Kind.PIN, 1, ("a",), (0.5,), ("x",))
LOADED_VERSION = NOW_MS - 1_000


def spec(
    *, schema: Schema = SCHEMA, version: int = LOADED_VERSION, gone_ms: int = 0, num_shards: int = 8
) -> LoadSpec:
    return LoadSpec(schema, version, gone_ms, num_shards, ShardScheme.HASHED, NOW_MS)


def batches(values: Mapping[int, float], *, batch_rows: int = 3) -> Iterator[RowBatch]:
    """Rows (value | id), in the order of `values`."""
    ids = np.array(list(values), np.uint64)
    features = np.array(list(values.values()), np.float32)[:, None]
    for start in range(0, len(ids), batch_rows):
        part = slice(start, start + batch_rows)
        yield RowBatch(ids[part], features[part], ids[part][:, None])


def prepared(folder: Path, values: Mapping[int, float], of: LoadSpec | None = None) -> LoadManifest:
    return prepare(batches(values), folder, of or spec())


def loader(rockstore: Rockstore) -> Loader:
    """The loader inside a Rockstore."""
    return rockstore.parts.admin._loader


def staged(rockstore: Rockstore, folder: Path) -> int:
    """Stage a prepared load; its generation's number."""
    return list(loader(rockstore).stage(folder))[-1].generation


def loaded(
    rockstore: Rockstore, folder: Path, values: Mapping[int, float], of: LoadSpec | None = None
) -> int:
    """Prepare, stage and activate; the generation's number."""
    prepared(folder, values, of)
    number = staged(rockstore, folder)
    rockstore.parts.generations.activate(Kind.PIN, number)
    return number


def answers(
    rockstore: Rockstore, *ids: int, now_ms: int = NOW_MS, schema: Schema = SCHEMA
) -> list[float | None]:
    """The first feature of each row; None where it is absent."""
    rows = rockstore.parts.rows.read(schema, np.array(ids, np.uint64), now_ms=now_ms)
    pairs = zip(rows.features[:, 0].tolist(), rows.present.tolist(), strict=True)
    return [value if there else None for value, there in pairs]
