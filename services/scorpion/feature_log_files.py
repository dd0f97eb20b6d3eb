"""The files of the feature log: what a served pin's row holds, and how rows are written and read.

    feature_log/
    ├── 1700000000000-6f1c0a9e.parquet     rows in the order in which they came; named after its first row
    └── .1700000900000-b07d11c4.parquet    being written: names with a dot are no part of the log

The only file that knows the schema. A file is written beside its place, synced, and renamed into it: a
reader sees all of it or none. The feature list (names and digests) stands in each file's metadata, so rows
of different lists are never mixed. Several processes may write to one directory (`feature_log.py`), each
its own files.
pyarrow is imported where it is used: 40 MB that a process which logs nothing saves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import CorruptValue

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT: Final = 1
"""Version of the schema; a file of another one is refused."""

SUFFIX: Final = ".parquet"
_UNFINISHED_MS: Final = 600_000
"""Writing a file takes less than a second; one that is still unfinished after this long never will be."""
_META: Final = b"feedmesh.feature_log"
_ARMS: Final = "arms"
"""Column of lists. Files of the versions before it lack it: nobody was in an experiment then."""

# Field of LoggedRows → column of the file, and its type where it is a number.
_COLUMNS: Final[Mapping[str, tuple[str, type[np.generic]]]] = {
    "served_ms": ("served_ms", np.int64),
    "now_ms": ("now_ms", np.int64),
    "log_ids": ("log_id", np.uint64),
    "request_ids": ("request_id", np.object_),
    "users": ("user", np.uint64),
    "feeds": ("feed", np.object_),
    "models": ("model", np.object_),
    "positions": ("position", np.uint16),
    "pins": ("pin", np.uint64),
    "boards": ("board", np.uint64),
    "owners": ("owner", np.uint64),
    "saved_at": ("saved_at", np.uint32),
    "light_scores": ("light_score", np.float32),
    "scores": ("score", np.float32),
}
_DICTIONARIES: Final = ["request_id", "feed", "model", "arms.list.element"]


@dataclass(frozen=True, slots=True)
class LoggedRows:
    """Served pins as aligned columns, one row each, all of one feature list."""

    served_ms: NDArray[np.int64]
    """When the page was made, milliseconds since 1970."""
    now_ms: NDArray[np.int64]
    """The time that the features were computed for, milliseconds since 1970."""
    log_ids: NDArray[np.uint64]
    """One number for all rows of a request."""
    request_ids: NDArray[np.object_]
    """str: the request, as in the logs of all services."""
    users: NDArray[np.uint64]
    feeds: NDArray[np.object_]
    """str: `following`, ..."""
    models: NDArray[np.object_]
    """str: the model that scored."""
    positions: NDArray[np.uint16]
    """Place on the page, 0 first."""
    pins: NDArray[np.uint64]
    boards: NDArray[np.uint64]
    """0: unknown."""
    owners: NDArray[np.uint64]
    """0: unknown."""
    saved_at: NDArray[np.uint32]
    """Seconds since 1970; 0: unknown."""
    light_scores: NDArray[np.float32]
    """NaN: unknown."""
    scores: NDArray[np.float32]
    """Raw score of the model."""
    arms: NDArray[np.object_]
    """tuple of str: the experiments' arms of the request, `experiment=arm` each, in order of names."""
    features: NDArray[np.float32]
    """(row, feature), C-contiguous: what the model was given, in the order of `names`."""
    names: tuple[str, ...]
    """The feature list's names."""
    digests: Mapping[str, str]
    """Of each feature by name: changes when the feature means something else (`Feature.digest`)."""

    def __len__(self) -> int:
        return len(self.pins)


def write_rows(path: Path, parts: Sequence[LoggedRows]) -> int:
    """Write the parts, all of one feature list, as the file `path`, in place of one that is there.

    Returns its bytes. Raises OSError, and then leaves `path` as it was. Blocks until it is on disk.
    """
    import pyarrow.parquet as pq

    table = _table(parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}")
    try:
        with beside.open("wb") as file:
            pq.write_table(table, file, compression="zstd", use_dictionary=_DICTIONARIES)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return path.stat().st_size


def file_sizes(directory: Path) -> dict[Path, int]:
    """Bytes of the whole files, oldest first; none when there is no such directory."""
    sizes = {}
    for path in sorted(directory.glob(f"*{SUFFIX}")) if directory.is_dir() else ():
        # Another process may have removed it since, for the bound of them all.
        with suppress(FileNotFoundError):
            if not path.name.startswith("."):
                sizes[path] = path.stat().st_size
    return sizes


def remove_unfinished(directory: Path, *, now_ms: int) -> None:
    """Remove what a process that was killed left half written. Raises OSError."""
    for path in directory.glob(f".*{SUFFIX}"):
        with suppress(FileNotFoundError):
            # A younger one may be another process's, on its way to being whole.
            if path.stat().st_mtime * 1000 < now_ms - _UNFINISHED_MS:
                path.unlink()


def read_feature_log(
    directory: Path, *, from_ms: int = 0, until_ms: int = 2**62, rows_max: int = 1_000_000
) -> list[LoggedRows]:
    """Rows served in `from_ms` ≤ t < `until_ms`, grouped by feature list, each group oldest file first.

    At most `rows_max` rows over all groups, those of the newest files; a row with 64 features takes some
    400 bytes. Rows of one page are in no promised order (see `positions`), and when several processes scored
    it they lie in the logs of each. No log gives an empty list; a file that is removed meanwhile is passed
    over.

    Raises:
        CorruptValue: a file that is damaged, or of another format; its name is in the message.
    """
    groups: dict[str, list[LoggedRows]] = {}
    left = rows_max
    for path in reversed(file_sizes(directory)):
        if left <= 0:
            break
        rows = _read(path, from_ms, until_ms)
        if rows is None or not len(rows):
            continue
        kept = _sliced(rows, max(0, len(rows) - left))
        left -= len(kept)
        groups.setdefault(_meta(rows), []).append(kept)
    return [_joined(parts[::-1]) for parts in groups.values()]


def _table(parts: Sequence[LoggedRows]) -> pa.Table:
    import pyarrow as pa

    first = parts[0]
    arrays: dict[str, Any] = {}
    for field, (column, dtype) in _COLUMNS.items():
        values = np.concatenate([getattr(part, field) for part in parts])
        if dtype is not np.object_:
            arrays[column] = pa.array(values.astype(dtype, copy=False))
        elif column == "request_id":
            arrays[column] = pa.array(values, pa.string())
        else:
            arrays[column] = pa.array(values, pa.string()).dictionary_encode()
    arms = np.concatenate([part.arms for part in parts])
    arrays[_ARMS] = pa.array(arms, pa.list_(pa.string()))
    flat = np.concatenate([part.features for part in parts]).astype(np.float32, copy=False)
    arrays["features"] = pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), len(first.names))
    return pa.table(arrays).replace_schema_metadata({_META: _meta(first)})


def _meta(rows: LoggedRows) -> str:
    """What tells two feature lists apart, and is written into the file."""
    return json.dumps({"format": FORMAT, "names": rows.names, "digests": dict(rows.digests)})


def _read(path: Path, from_ms: int, until_ms: int) -> LoggedRows | None:
    """The file's rows of the time; None when it is gone, or has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            meta = _parsed(path, file.schema_arrow.metadata or {})
            wanted = [
                group for group in range(file.num_row_groups) if _overlaps(file, group, from_ms, until_ms)
            ]
            table = file.read_row_groups(wanted) if wanted else None
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError, ValueError) as fault:
        raise CorruptValue(f"{path} is no file of the feature log, or is damaged: {fault}") from fault
    if table is None:
        return None
    served = table.column("served_ms").to_numpy()
    inside = (served >= from_ms) & (served < until_ms)
    return _rows(table if inside.all() else table.filter(pa.array(inside)), meta)


def _parsed(path: Path, metadata: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    meta = json.loads(metadata.get(_META, b"{}"))
    if meta.get("format") != FORMAT:
        raise CorruptValue(
            f"{path} is of format {meta.get('format')}, this version reads {FORMAT}; move the file away"
        )
    return meta  # type: ignore[no-any-return]


def _overlaps(file: Any, group: int, from_ms: int, until_ms: int) -> bool:
    """Whether a row group may have rows of the time; its statistics save reading it."""
    served = file.metadata.row_group(group).column(0).statistics
    return served is None or (served.max >= from_ms and served.min < until_ms)


def _rows(table: pa.Table, meta: Mapping[str, Any]) -> LoggedRows:
    table = table.combine_chunks()
    columns: dict[str, Any] = {}
    for field, (column, dtype) in _COLUMNS.items():
        # A copy that owns its memory: Arrow's own arrays are read-only, another type to numba.
        columns[field] = np.array(table.column(column).to_numpy(), dtype=dtype)
    columns["arms"] = _arms(table)
    names = tuple(meta["names"])
    flat = [chunk.flatten().to_numpy() for chunk in table.column("features").chunks]
    features = np.concatenate(flat) if flat else np.empty(0, np.float32)
    columns["features"] = np.array(features, np.float32).reshape(table.num_rows, len(names))
    return LoggedRows(**columns, names=names, digests=meta["digests"])


def _arms(table: pa.Table) -> NDArray[np.object_]:
    """The lists as tuples; empty for a file that has none."""
    arms = np.empty(table.num_rows, np.object_)
    lists = table.column(_ARMS).to_pylist() if _ARMS in table.column_names else [()] * table.num_rows
    # A page's rows have the same arms: kept once, not a tuple for each row.
    kept: dict[tuple[str, ...], tuple[str, ...]] = {}
    for row, names in enumerate(lists):
        one = tuple(names)
        arms[row] = kept.setdefault(one, one)
    return arms


def _sliced(rows: LoggedRows, start: int) -> LoggedRows:
    """Rows from `start` on."""
    if not start:
        return rows
    columns = {field: getattr(rows, field)[start:] for field in _aligned()}
    return LoggedRows(**columns, names=rows.names, digests=rows.digests)


def _joined(parts: Sequence[LoggedRows]) -> LoggedRows:
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {
        field: np.concatenate([getattr(part, field) for part in parts]) for field in _aligned()
    }
    return LoggedRows(**columns, names=parts[0].names, digests=parts[0].digests)


def _aligned() -> Iterator[str]:
    return (field.name for field in fields(LoggedRows) if field.name not in ("names", "digests"))


def _sync_folder(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
