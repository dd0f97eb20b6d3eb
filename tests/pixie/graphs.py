"""Graphs made the naive way, all in memory: for tests of walks, and what the builder is held against.

Shares nothing with `services/pixie/building`, on purpose.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.pixie import graph_files
from services.pixie.graph import Graph

VERSION = "20261128T180000"
BUILT_MS = 1_795_888_800_000

Arrays = Mapping[str, NDArray[Any]]


def naive_arrays(
    edges: Iterable[tuple[int, int]],
    *,
    pin_classes: Mapping[int, int] | None = None,
    board_classes: Mapping[int, int] | None = None,
) -> Arrays:
    """The arrays of a graph from (pin, board) pairs; classes by id, 0 where not named."""
    pairs = sorted(set(edges))
    pins, boards = sorted({pin for pin, _ in pairs}), sorted({board for _, board in pairs})
    pin_rows = {pin: row for row, pin in enumerate(pins)}
    board_rows = {board: row for row, board in enumerate(boards)}
    classes_of_pins = [(pin_classes or {}).get(pin, 0) for pin in pins]
    classes_of_boards = [(board_classes or {}).get(board, 0) for board in boards]
    of_pins: list[list[int]] = [[] for _ in pins]
    of_boards: list[list[int]] = [[] for _ in boards]
    for pin, board in pairs:
        of_pins[pin_rows[pin]].append(board_rows[board])
        of_boards[board_rows[board]].append(pin_rows[pin])
    pin_starts, pin_edges = _compressed(of_pins, classes_of_boards)
    board_starts, board_edges = _compressed(of_boards, classes_of_pins)
    return {
        "pins": np.array(pins, np.uint64),
        "boards": np.array(boards, np.uint64),
        "pin_starts": pin_starts,
        "pin_edges": pin_edges,
        "board_starts": board_starts,
        "board_edges": board_edges,
        "pin_classes": np.array(classes_of_pins, np.uint16),
        "board_classes": np.array(classes_of_boards, np.uint16),
    }


def write_graph(
    graphs_dir: Path,
    edges: Iterable[tuple[int, int]],
    *,
    version: str = VERSION,
    pin_classes: Mapping[int, int] | None = None,
    board_classes: Mapping[int, int] | None = None,
    class_names: Sequence[str] = ("",),
    bias: str = "none",
) -> Path:
    """A graph of (pin, board) pairs as a version in the folder, as the builder would leave it."""
    arrays = naive_arrays(edges, pin_classes=pin_classes, board_classes=board_classes)
    return write_arrays(graphs_dir, arrays, version=version, class_names=class_names, bias=bias)


def write_arrays(
    graphs_dir: Path,
    arrays: Arrays,
    *,
    version: str = VERSION,
    class_names: Sequence[str] = ("",),
    bias: str = "none",
) -> Path:
    """Arrays as a version, with checksums that fit them, however wrong they are."""
    graphs_dir.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".test-", dir=graphs_dir))
    for name, array in arrays.items():
        array.astype(graph_files.FILES[name]).tofile(draft / graph_files.file_name(name))
    manifest = graph_files.Manifest(
        version=version,
        pin_count=arrays["pins"].size,
        board_count=arrays["boards"].size,
        edge_count=arrays["pin_edges"].size,
        pin_degree_max=int(np.diff(arrays["pin_starts"]).max()),
        board_degree_max=int(np.diff(arrays["board_starts"]).max()),
        built_ms=BUILT_MS,
        source="a test",
        bias=bias,
        class_names=tuple(class_names),
        files={
            name: graph_files.file_entry(draft / graph_files.file_name(name)) for name in graph_files.FILES
        },
    )
    return graph_files.complete(draft, graphs_dir, manifest)


def tiny_graph(graphs_dir: Path, *, version: str = VERSION) -> Graph:
    """Seven pins on four boards, in two languages; pin 17 and board 104 hang apart from the rest."""
    edges = [(11, 101), (12, 101), (13, 101), (12, 102), (13, 102), (14, 102), (14, 103), (15, 103)]
    edges += [(16, 103), (17, 104)]
    classes = {11: 1, 12: 1, 13: 2, 14: 2, 15: 2, 16: 0, 17: 1}
    path = write_graph(
        graphs_dir,
        edges,
        version=version,
        pin_classes=classes,
        board_classes={101: 1, 102: 2, 103: 2, 104: 1},
        class_names=("", "en", "fr"),
        bias="language",
    )
    return Graph.open(path)


def random_edges(pin_count: int, board_count: int, edge_count: int, *, seed: int) -> list[tuple[int, int]]:
    """(pin, board) pairs few pins popular and many rare, as saves are; ids from 1 and from 1,001."""
    rng = np.random.default_rng(seed)
    pins = 1 + (pin_count * rng.random(edge_count) ** 3).astype(int)
    boards = 1_001 + rng.integers(board_count, size=edge_count)
    return list(zip(pins.tolist(), boards.tolist(), strict=True))


def _compressed(
    neighbours: Sequence[Sequence[int]], classes: Sequence[int]
) -> tuple[NDArray[Any], NDArray[Any]]:
    starts = np.cumsum([0, *(len(rows) for rows in neighbours)]).astype(np.uint64)
    ordered = [row for rows in neighbours for row in sorted(rows, key=lambda row: (classes[row], row))]
    return starts, np.array(ordered, np.uint32)
