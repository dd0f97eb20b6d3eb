"""Edges in a file, and attributes of pins in another: CSV, Parquet, npz, npy.

    edges, CSV          columns `pin` and `board` by name, in any order, others ignored; or, without a header,
                        two columns, the pin first
    edges, Parquet      columns `pin` and `board`, others ignored
    edges, npz          arrays `pin` and `board` (or `pins` and `boards`), or one array of shape (edge, 2)
    edges, npy          one array of shape (edge, 2)
    attributes          CSV with a header, or Parquet: `pin`, and `language` or `interests` or both; interests
                        are a list, or text with ; between the names

Read as streams, but for an npz, whose arrays are read whole. Rows are counted from 1, a header not counted.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from services.pixie.building.id_columns import ids_of
from services.pixie.building.source import AttributeChunk, BadSource, EdgeChunk

SUFFIXES: Final = (".csv", ".parquet", ".npz", ".npy")
ATTRIBUTE_SUFFIXES: Final = (".csv", ".parquet")
PIN, BOARD, LANGUAGE, INTERESTS = "pin", "board", "language", "interests"
_BATCH_ROWS: Final = 1 << 20
_CSV_BLOCK_BYTES: Final = 16 << 20
_ATTRIBUTE_ROWS: Final = 50_000


@dataclass(frozen=True)
class EdgeFile:
    """A source: a file of edges."""

    path: Path

    def __post_init__(self) -> None:
        _check_path(self.path, SUFFIXES)

    @property
    def text(self) -> str:
        """The file's name."""
        return f"edges of {self.path.name}"

    @property
    def edge_count(self) -> int | None:
        """Its rows, where the file says so."""
        with _readable(self.path, "edges"):
            if self.path.suffix == ".parquet":
                count: int = pyarrow.parquet.read_metadata(self.path).num_rows
                return count
            if self.path.suffix == ".npy":
                return int(np.load(self.path, mmap_mode="r", allow_pickle=False).shape[0])
        return None

    def edges(self) -> Iterator[EdgeChunk]:
        """All edges. Raises BadSource."""
        with _readable(self.path, "edges"):
            yield from _npy_edges(self.path) if self.path.suffix in (".npy", ".npz") else self._table_edges()

    def deleted_boards(self) -> Mapping[int, int]:
        """None: a file tells of what is there."""
        return {}

    def attributes(self) -> Iterator[AttributeChunk] | None:
        """None: they have a file of their own."""
        return None

    def _table_edges(self) -> Iterator[EdgeChunk]:
        row, where = 1, self.path.name
        for table in _batches(self.path, (PIN, BOARD), needs_header=False):
            pins = ids_of(table.column(PIN), where=where, name=PIN, first_row=row)
            yield EdgeChunk(pins, ids_of(table.column(BOARD), where=where, name=BOARD, first_row=row))
            row += table.num_rows


def check_attributes(path: Path) -> None:
    """Raises BadSource unless it may be a file of attributes."""
    _check_path(path, ATTRIBUTE_SUFFIXES)


def attributes_of(path: Path) -> Iterator[AttributeChunk]:
    """What a file tells of pins. Raises BadSource."""
    row = 1
    with _readable(path, "attributes of pins"):
        for table in _batches(path, (PIN,), optional=(LANGUAGE, INTERESTS), needs_header=True):
            for start in range(0, table.num_rows, _ATTRIBUTE_ROWS):
                part = table.slice(start, _ATTRIBUTE_ROWS)
                pins = ids_of(part.column(PIN), where=path.name, name=PIN, first_row=row)
                yield AttributeChunk(
                    pins,
                    [_language(value) for value in _values(part, LANGUAGE)],
                    [_interests(value) for value in _values(part, INTERESTS)],
                )
                row += part.num_rows


def _values(table: Any, name: str) -> Sequence[Any]:
    return table.column(name).to_pylist() if name in table.schema.names else [None] * table.num_rows


def _language(value: Any) -> str:
    return "" if value is None else str(value)


def _interests(value: Any) -> Sequence[str]:
    parts = value.split(";") if isinstance(value, str) else value or ()
    return [name for name in (str(part).strip() for part in parts) if name]


def _batches(
    path: Path, wanted: Sequence[str], *, optional: Sequence[str] = (), needs_header: bool
) -> Iterator[Any]:
    """Record batches of the wanted columns, and of those optional ones that there are."""
    if path.suffix == ".parquet":
        with pyarrow.parquet.ParquetFile(path) as file:
            chosen = _chosen(path, file.schema_arrow.names, wanted, optional)
            yield from file.iter_batches(_BATCH_ROWS, columns=chosen)
        return
    header = _header(path, wanted, needs_header=needs_header)
    chosen = list(wanted) if header is None else _chosen(path, header, wanted, optional)
    try:
        yield from _csv_batches(path, chosen, None if header is not None else wanted)
    except pyarrow.ArrowInvalid:
        _find_ragged_line(path, len(header or wanted))
        raise


def _csv_batches(path: Path, chosen: list[str], names: Sequence[str] | None) -> Iterator[Any]:
    yield from pyarrow.csv.open_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(
            block_size=_CSV_BLOCK_BYTES, column_names=list(names) if names is not None else None
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=chosen, column_types=dict.fromkeys(chosen, pyarrow.string())
        ),
    )


def _find_ragged_line(path: Path, column_count: int) -> None:
    """Raises BadSource with the first line of another length: Arrow does not say which it was."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        for line in lines:
            if line and len(line) != column_count:
                raise BadSource(f"{path}: line {lines.line_num} has {len(line)} of {column_count} columns")


def _chosen(path: Path, names: Sequence[str], wanted: Sequence[str], optional: Sequence[str]) -> list[str]:
    missing = [name for name in wanted if name not in names]
    if missing:
        raise BadSource(f"{path}: no column {' and no '.join(missing)} (line 1: {','.join(names)})")
    found = [name for name in optional if name in names]
    if optional and not found:
        raise BadSource(f"{path}: neither {' nor '.join(optional)} (line 1: {','.join(names)})")
    if len(set(names)) < len(names):
        raise BadSource(f"{path}: a column comes twice (line 1: {','.join(names)})")
    return [*wanted, *found]


def _header(path: Path, wanted: Sequence[str], *, needs_header: bool) -> list[str] | None:
    """The names in line 1; None when the file begins with data."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        first, second = next(lines, []), next(lines, [])
    if needs_header or any(name in first for name in wanted):
        return first
    if first and len(first) != len(wanted):
        raise BadSource(
            f"{path}: line 1 has {len(first)} columns; without a header there are two, the pin and the "
            f"board, and a header names {' and '.join(wanted)}"
        )
    # Names over numbers: a header of other names would become an edge between two of its words.
    if any(
        not name.isdecimal() and value.isdecimal() for name, value in zip(first, second, strict=False)
    ) and not any(name.isdecimal() for name in first):
        raise BadSource(
            f"{path}: line 1 ({','.join(first)}) looks like a header, and names no "
            f"{' and no '.join(wanted)}; if it is data, begin the file with a line {','.join(wanted)}"
        )
    return None


def _npy_edges(path: Path) -> Iterator[EdgeChunk]:
    pins, boards = _columns(path)
    if pins.shape != boards.shape or pins.ndim != 1:
        raise BadSource(f"{path}: pins of shape {pins.shape} and boards of shape {boards.shape} are no edges")
    for start in range(0, pins.size, _BATCH_ROWS):
        part = slice(start, start + _BATCH_ROWS)
        sides = ((pins, PIN), (boards, BOARD))
        found = [
            ids_of(pyarrow.array(side[part]), where=path.name, name=name, first_row=start + 1)
            for side, name in sides
        ]
        yield EdgeChunk(*found)


def _columns(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    if path.suffix == ".npy":
        return _pair(path, loaded)
    with loaded as arrays:
        for pin, board in ((PIN, BOARD), ("pins", "boards")):
            if pin in arrays and board in arrays:
                return arrays[pin], arrays[board]
        if len(arrays.files) == 1:
            return _pair(path, arrays[arrays.files[0]])
        raise BadSource(
            f"{path} holds {', '.join(arrays.files)}: edges are arrays pin and board, or one of shape "
            "(edge, 2)"
        )


def _pair(path: Path, array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    if array.ndim != 2 or array.shape[1] != 2:
        raise BadSource(f"{path}: an array of shape {array.shape} is no edges; those are of shape (edge, 2)")
    return array[:, 0], array[:, 1]


def _check_path(path: Path, suffixes: Sequence[str]) -> None:
    if not path.is_file():
        raise BadSource(f"{path} is not there, or is no file")
    if path.suffix not in suffixes:
        raise BadSource(f"{path} is none of {', '.join(suffixes)}")


@contextmanager
def _readable(path: Path, what: str) -> Iterator[None]:
    """What a library says of a file that it cannot read, as ours."""
    try:
        yield
    except (pyarrow.ArrowException, csv.Error, BadZipFile, ValueError, EOFError, OSError) as error:
        raise BadSource(f"{path} cannot be read as {what}: {error}") from error
