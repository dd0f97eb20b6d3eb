"""Files of feature rows, read in batches: Parquet, CSV, npz.

    Parquet, CSV   a column `id`, and one for each column of the schema, by name, in any order
    npz            arrays `ids` uint64 (row,), `features` float32 (row, feature) and, where the schema has id
                   columns, `id_columns` uint64 (row, id column), in the schema's order

A column that is missing, or that the schema does not have, is a fault: a misspelt name would go unnoticed.
Nothing in a feature column is a missing value, NaN; an id must be there. Parquet and CSV are read as streams;
the arrays of an npz are read whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from services.cli.faults import UsageFault
from services.rockstore.loads.preparing import RowBatch
from services.rockstore.schema import Schema

BATCH_ROWS: Final = 50_000
ID: Final = "id"
SUFFIXES: Final = (".parquet", ".csv", ".npz")
_CSV_BLOCK_BYTES: Final = 16 << 20


@dataclass(frozen=True)
class RowFile:
    """A file and what it is read as."""

    path: Path
    schema: Schema

    def __post_init__(self) -> None:
        if self.path.suffix not in SUFFIXES:
            raise UsageFault(f"{self.path} is none of {', '.join(SUFFIXES)}")
        if not self.path.is_file():
            raise UsageFault(f"{self.path} is not there, or is no file")

    @property
    def row_count(self) -> int | None:
        """Rows, where the file says so."""
        if self.path.suffix != ".parquet":
            return None
        with self._readable():
            count: int = pyarrow.parquet.read_metadata(self.path).num_rows
            return count

    def batches(self) -> Iterator[RowBatch]:
        """Its rows in order.

        Raises:
            UsageFault: it cannot be read, or does not fit the schema.
        """
        with self._readable():
            if self.path.suffix == ".npz":
                yield from _npz(self.path, self.schema)
                return
            for table in _parquet(self.path) if self.path.suffix == ".parquet" else self._csv():
                _check_names(self.path, table.schema.names, self.schema)
                yield _batch(table, self.schema)

    def _csv(self) -> Iterator[Any]:
        types = {name: pyarrow.uint64() for name in (ID, *self.schema.id_columns)}
        types |= {name: pyarrow.float32() for name in self.schema.features}
        yield from pyarrow.csv.open_csv(
            self.path,
            read_options=pyarrow.csv.ReadOptions(block_size=_CSV_BLOCK_BYTES),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types),
        )

    def _readable(self) -> _Readable:
        return _Readable(self.path)


class _Readable:
    """What a library says of a file that it cannot read, as ours."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing to enter."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, (pyarrow.ArrowException, ValueError, OSError, OverflowError, KeyError)):
            raise UsageFault(f"{self._path} cannot be read as feature rows: {error}") from error


def _parquet(path: Path) -> Iterator[Any]:
    with pyarrow.parquet.ParquetFile(path) as file:
        yield from file.iter_batches(BATCH_ROWS)


def _batch(table: Any, schema: Schema) -> RowBatch:
    features = np.empty((table.num_rows, len(schema.features)), np.float32)
    for place, name in enumerate(schema.features):
        # Through float64: what is too large for float32 becomes infinite, and is refused as such.
        column = table.column(name).cast(pyarrow.float64())
        with np.errstate(over="ignore"):
            features[:, place] = column.to_numpy(zero_copy_only=False)
    ids = np.empty((table.num_rows, len(schema.id_columns)), np.uint64)
    for place, name in enumerate(schema.id_columns):
        ids[:, place] = _ids(table, name)
    return RowBatch(_ids(table, ID), features, ids)


def _ids(table: Any, name: str) -> NDArray[np.uint64]:
    column = table.column(name)
    if column.null_count:
        raise ValueError(f"column {name} has rows without a value; an id is never missing, nobody's is 0")
    if not pyarrow.types.is_integer(column.type):
        raise ValueError(f"column {name} is of type {column.type}; ids are integers")
    # Safe: a negative number is a fault, not an id of 2^64.
    values: NDArray[np.uint64] = column.cast(pyarrow.uint64()).to_numpy(zero_copy_only=False)
    return values


def _npz(path: Path, schema: Schema) -> Iterator[RowBatch]:
    wanted = ["ids", "features", *(["id_columns"] if schema.id_columns else [])]
    with np.load(path, allow_pickle=False) as arrays:
        if sorted(arrays.files) != sorted(wanted):
            raise ValueError(f"it has the arrays {sorted(arrays.files)}, wanted are {sorted(wanted)}")
        objects, features = arrays["ids"], arrays["features"]
        ids = arrays["id_columns"] if schema.id_columns else np.empty((len(objects), 0), np.uint64)
    shapes = (objects.shape, features.shape, ids.shape)
    count = len(objects)
    if shapes != ((count,), (count, len(schema.features)), (count, len(schema.id_columns))):
        raise ValueError(
            f"ids, features and id columns have shapes {shapes}; the schema has {len(schema.features)} "
            f"features and {len(schema.id_columns)} id columns"
        )
    if objects.dtype != np.uint64 or ids.dtype != np.uint64 or features.dtype not in (np.float32, np.float64):
        raise ValueError("ids are uint64, features float32")
    for start in range(0, count, BATCH_ROWS):
        part = slice(start, start + BATCH_ROWS)
        with np.errstate(over="ignore"):
            yield RowBatch(objects[part], features[part].astype(np.float32), ids[part])


def _check_names(path: Path, names: list[str], schema: Schema) -> None:
    wanted = [ID, *schema.features, *schema.id_columns]
    faults = []
    if missing := [name for name in wanted if name not in names]:
        faults.append(f"lacks {', '.join(missing)}")
    if unknown := [name for name in names if name not in wanted]:
        faults.append(f"has {', '.join(unknown)}, which the schema does not have")
    if len(set(names)) < len(names):
        faults.append("has a column twice")
    if faults:
        raise UsageFault(f"{path} {'; '.join(faults)}")
