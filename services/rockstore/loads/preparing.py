"""Preparing a load: rows in any order → checked, sorted table files in a folder, and their manifest.

    batches of rows → checked → spilled to one file per range of shards
        → each range: read, sorted, searched for duplicates → table file, and its checksum

Memory is one batch and one range (a 64th of the rows when shards are even); the disk holds the rows twice for
a while. The manifest comes last: a folder without it is no load. Runs where the rows are, without a mesh.
Refuses id 0, infinite features (NaN is a missing value), zero rows, and an id that comes twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.ids import ShardScheme, shards_of
from services.chassis.storage import TableFile, loaded_family
from services.rockstore.loads.prepared import BadLoad, LoadFile, LoadManifest, checksum
from services.rockstore.schema import Schema
from services.rockstore.store import cell_keys, row_cells

RANGES_MAX: Final = 64
"""Table files of one load; as many files are open at once while rows are spilled."""
WRITE_ROWS: Final = 10_000
"""Rows that are Python's bytes at one time."""
_SHOWN_MAX: Final = 5

Progress = Callable[[int], None]
"""Hears of rows that are done."""


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Some rows, aligned."""

    objects: NDArray[np.uint64]
    """Their ids."""
    features: NDArray[np.float32]
    """Shape (row, feature)."""
    ids: NDArray[np.uint64]
    """Shape (row, id column)."""


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """What all rows of a load have in common."""

    schema: Schema
    version: int
    """1 or more."""
    gone_ms: int
    """0: they stay."""
    num_shards: int
    shard_scheme: ShardScheme
    made_ms: int


def prepare(
    batches: Iterable[RowBatch],
    folder: Path,
    spec: LoadSpec,
    *,
    spilled: Progress = lambda rows: None,
    written: Progress = lambda rows: None,
) -> LoadManifest:
    """Make `folder`, which must not exist, a prepared load; every row is heard of twice.

    Raises:
        BadLoad: rows that no load can hold; which, says the message.
        DiskFull, StorageFault: the folder cannot be written.
    """
    folder.mkdir(parents=True)
    spill = _Spill(folder, spec)
    spill.take(batches, spilled)
    files = [file for part in range(spill.range_count) if (file := spill.write(part, written)) is not None]
    if not files:
        raise BadLoad("there are no rows: a load of none would answer none")
    manifest = LoadManifest(
        kind=int(spec.schema.kind),
        schema_version=spec.schema.version,
        feature_count=len(spec.schema.features),
        id_count=len(spec.schema.id_columns),
        version=spec.version,
        gone_ms=spec.gone_ms,
        num_shards=spec.num_shards,
        shard_scheme=str(spec.shard_scheme),
        made_ms=spec.made_ms,
        files=tuple(files),
    )
    manifest.write(folder)
    return manifest


class _Spill:
    """Rows on the disk by range of shards, in the order in which they came."""

    def __init__(self, folder: Path, spec: LoadSpec) -> None:
        self._folder = folder
        self._spec = spec
        self.range_count = min(spec.num_shards, RANGES_MAX)
        self._record = np.dtype(
            [
                ("object", "<u8"),
                ("features", "<f4", (len(spec.schema.features),)),
                ("ids", "<u8", (len(spec.schema.id_columns),)),
            ]
        )

    def take(self, batches: Iterable[RowBatch], done: Progress) -> None:
        """Check and spill every batch."""
        row_count = 0
        with ExitStack() as stack:
            files = [stack.enter_context(self._path(part).open("wb")) for part in range(self.range_count)]
            for batch in batches:
                _check(batch, first_row=row_count)
                self._append(batch, files)
                row_count += len(batch.objects)
                done(len(batch.objects))

    def write(self, part: int, done: Progress) -> LoadFile | None:
        """Turn one range into its table file; None when it has no rows."""
        path = self._path(part)
        records = np.fromfile(path, self._record)
        path.unlink()
        if not len(records):
            return None
        shards = self._shards(records["object"])
        order = np.lexsort((records["object"], shards))
        objects, shards = records["object"][order], shards[order]
        _refuse_duplicates(objects)
        target = self._folder / f"rows-{part:03d}.sst"
        table = TableFile(target, loaded_family())
        for start in range(0, len(order), WRITE_ROWS):
            rows = slice(start, start + WRITE_ROWS)
            chosen = records[order[rows]]
            table.extend(
                cell_keys(int(self._spec.schema.kind), objects[rows], shards[rows]),
                row_cells(
                    chosen["features"],
                    chosen["ids"],
                    schema_version=self._spec.schema.version,
                    version=self._spec.version,
                    gone_ms=self._spec.gone_ms,
                ),
            )
            done(len(chosen))
        table.finish()
        return LoadFile(
            name=target.name,
            first_shard=int(shards[0]),
            last_shard=int(shards[-1]),
            row_count=len(order),
            size_bytes=target.stat().st_size,
            xxh3=checksum(target),
        )

    def _append(self, batch: RowBatch, files: Sequence[BinaryIO]) -> None:
        parts = self._shards(batch.objects).astype(np.int64) * self.range_count // self._spec.num_shards
        records = np.empty(len(parts), self._record)
        records["object"], records["features"], records["ids"] = batch.objects, batch.features, batch.ids
        order = np.argsort(parts, kind="stable")
        ends = np.searchsorted(parts[order], np.arange(self.range_count), side="right")
        for part, rows in enumerate(np.split(records[order], ends[:-1])):
            if len(rows):
                files[part].write(rows.tobytes())

    def _shards(self, objects: NDArray[np.uint64]) -> NDArray[np.integer]:
        return shards_of(objects, num_shards=self._spec.num_shards, scheme=self._spec.shard_scheme)

    def _path(self, part: int) -> Path:
        return self._folder / f"spill-{part:03d}"


def _check(batch: RowBatch, *, first_row: int) -> None:
    nobody = np.flatnonzero(batch.objects == 0)
    if len(nobody):
        raise BadLoad(f"row {first_row + int(nobody[0]) + 1} has the id 0, which is nobody's")
    infinite = np.argwhere(np.isinf(batch.features))
    if len(infinite):
        row, column = infinite[0].tolist()
        raise BadLoad(
            f"row {first_row + row + 1} (id {batch.objects[row]}) has an infinite feature in column "
            f"{column + 1}; NaN is a missing value"
        )


def _refuse_duplicates(objects: NDArray[np.uint64]) -> None:
    twice = np.unique(objects[1:][objects[1:] == objects[:-1]])
    if len(twice):
        shown = ", ".join(str(id) for id in twice[:_SHOWN_MAX].tolist())
        raise BadLoad(
            f"{len(twice)} ids come more than once: {shown}{' …' if len(twice) > _SHOWN_MAX else ''}"
        )
