"""Who saved what: pairs of a board (or user) and a pin, as a sparse matrix.

    .csv, .parquet   columns `pin` and `board` (or `user`), ids from 1 on; a column `weight` if there is one
    .npz             arrays `pins` and `boards` (or `users`), and `weights` if there are any
    a folder         a version of Pixie's graph, or a folder of versions: the newest

A board stands for a person with one taste, so it teaches more than a user does who owns many. A pair that
comes twice counts once, with its greatest weight. All of it is held in memory: about 40 bytes a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import FeedmeshError
from services.cli.faults import UsageFault

if TYPE_CHECKING:
    from services.pixie.graph import Graph

SUFFIXES: Final = (".csv", ".parquet", ".npz")
_OWNERS: Final = ("board", "user")


@dataclass(frozen=True, slots=True)
class Pairs:
    """Boards × pins by rows: row i has `columns[starts[i]:starts[i + 1]]`, ascending and distinct."""

    pins: NDArray[np.uint64]
    """Ids by column, ascending."""
    starts: NDArray[np.int64]
    """(board + 1,)."""
    columns: NDArray[np.int32]
    weights: NDArray[np.float32]
    """Of each pair, greater than 0."""
    source: str
    """Where they came from, for people."""

    @property
    def board_count(self) -> int:
        """Rows."""
        return self.starts.size - 1

    @property
    def pair_count(self) -> int:
        """Pairs, each counted once."""
        return int(self.columns.size)


def read_pairs(path: Path) -> Pairs:
    """The pairs of a file or a graph. Raises UsageFault when it cannot be read, or has none."""
    if path.is_dir():
        return _of_graph(path)
    if path.suffix not in SUFFIXES:
        raise UsageFault(f"{path} is none of {', '.join(SUFFIXES)}, and no folder of a graph")
    if not path.is_file():
        raise UsageFault(f"{path} is not there")
    owners, pins, weights = _npz(path) if path.suffix == ".npz" else _table(path)
    if not pins.size:
        raise UsageFault(f"{path} has no pairs")
    if not owners.size == pins.size == weights.size:
        raise UsageFault(f"{path} has {owners.size} boards for {pins.size} pins and {weights.size} weights")
    for name, ids in (("board", owners), ("pin", pins)):
        if not ids.all():
            raise UsageFault(f"{path}: row {int(np.argmin(ids)) + 1} has {name} 0, which is nobody's id")
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise UsageFault(f"{path}: weights must be finite and greater than 0")
    return paired(owners, pins, weights, source=path.name)


def paired(
    owners: NDArray[np.uint64], pins: NDArray[np.uint64], weights: NDArray[np.float32], *, source: str
) -> Pairs:
    """Pairs in any order, and as often as they come, as a matrix."""
    _, rows = np.unique(owners, return_inverse=True)
    ids, columns = np.unique(pins, return_inverse=True)
    order = np.lexsort((-weights, columns, rows))
    rows, columns, weights = rows[order], columns[order], weights[order]
    first = np.r_[True, (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])]
    rows, columns, weights = rows[first], columns[first], weights[first]
    starts = np.searchsorted(rows, np.arange(int(rows[-1]) + 2)).astype(np.int64)
    return Pairs(ids, starts, columns.astype(np.int32), weights.astype(np.float32), source)


def _of_graph(path: Path) -> Pairs:
    from services.pixie.graph import Graph
    from services.pixie.graph_files import MANIFEST, NAME

    folder = path
    if not (path / MANIFEST).is_file():
        versions = [entry for entry in sorted(path.iterdir()) if NAME.fullmatch(entry.name)]
        if not versions:
            raise UsageFault(f"{path} holds no graph; make one with feedmesh pixie build")
        folder = versions[-1]
    try:
        graph: Graph = Graph.open(folder)
    except FeedmeshError as fault:
        raise UsageFault(f"{folder} is no graph that can be read: {fault.message}") from fault
    starts = graph.board_starts.astype(np.int64)
    columns = graph.board_edges.astype(np.int32)
    # Within a board, pins are in the order of their class; here they are by row.
    rows = np.repeat(np.arange(graph.board_count), np.diff(starts))
    columns = columns[np.lexsort((columns, rows))]
    return Pairs(
        graph.pins.copy(), starts, columns, np.ones(columns.size, np.float32), f"graph {graph.version}"
    )


def _npz(path: Path) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.float32]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            owner = next((f"{name}s" for name in _OWNERS if f"{name}s" in arrays), None)
            if owner is None or "pins" not in arrays:
                raise UsageFault(f"{path} has {', '.join(arrays)}; pins and boards (or users) are wanted")
            owners, pins = (np.asarray(arrays[name]).ravel() for name in (owner, "pins"))
            weights = arrays["weights"].ravel() if "weights" in arrays else np.ones(pins.size, np.float32)
    except (OSError, ValueError, EOFError) as fault:
        raise UsageFault(f"{path} cannot be read: {fault}") from fault
    for name, ids in ((owner, owners), ("pins", pins)):
        if not np.issubdtype(ids.dtype, np.integer) or (ids.size and ids.min() < 0):
            raise UsageFault(f"{path}: {name} are {ids.dtype}; ids are whole numbers from 1 on")
    return owners.astype(np.uint64), pins.astype(np.uint64), weights.astype(np.float32)


def _table(path: Path) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.float32]]:
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    types = {name: pyarrow.uint64() for name in ("pin", *_OWNERS)} | {"weight": pyarrow.float32()}
    try:
        if path.suffix == ".csv":
            options = pyarrow.csv.ConvertOptions(column_types=types)
            table = pyarrow.csv.read_csv(path, convert_options=options)
        else:
            table = pyarrow.parquet.read_table(path)
        owner = next((name for name in _OWNERS if name in table.column_names), None)
        if owner is None or "pin" not in table.column_names:
            raise UsageFault(
                f"{path} has {', '.join(table.column_names)}; pin and board (or user) are wanted"
            )

        def column(name: str) -> NDArray[Any]:
            found = table.column(name)
            if found.null_count:
                raise UsageFault(f"{path} has {found.null_count} rows without {name}")
            return np.asarray(found.cast(types[name]).to_numpy())

        weights = column("weight") if "weight" in table.column_names else np.ones(table.num_rows, np.float32)
        return column(owner), column("pin"), weights
    except (pyarrow.ArrowException, OSError) as fault:
        raise UsageFault(f"{path} cannot be read: {fault}") from fault
