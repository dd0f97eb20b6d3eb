"""A graph is opened only when walks on it stay inside its arrays."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.chassis.errors import NotFound
from services.pixie import graph_files
from services.pixie.graph import Graph
from services.pixie.graph_files import BadGraph, Manifest
from tests.pixie.graphs import VERSION, naive_arrays, random_edges, tiny_graph, write_arrays, write_graph

EDGES = [(11, 101), (12, 101), (12, 102), (13, 102), (13, 103)]
"""Pins 11 to 13 are rows 0 to 2, boards 101 to 103 too; starts of pins 0 1 3 5, of boards 0 2 4 5."""


def test_rows_of_ids_and_minus_one_for_strangers(tmp_path: Path) -> None:
    graph = tiny_graph(tmp_path)
    assert graph.pin_rows(np.array([17, 11, 99, 10, 2**64 - 1], np.uint64)).tolist() == [6, 0, -1, -1, -1]
    assert graph.board_rows(np.array([101, 104, 100], np.uint64)).tolist() == [0, 3, -1]


def test_neighbours_of_one_class_are_one_run(tmp_path: Path) -> None:
    classes = {pin: pin % 3 for pin in range(1, 41)}
    edges = [(pin, 1_001) for pin in range(1, 41)]
    path = write_graph(tmp_path, edges, pin_classes=classes, class_names=("", "en", "fr"))
    graph = Graph.open(path)
    ordered = graph.pin_classes[graph.board_edges]
    assert ordered.tolist() == sorted(ordered.tolist())
    assert graph.class_of("fr") == 2
    assert graph.class_of("") == graph.class_of("de") == 0


def test_arrays_are_read_only_and_plain(tmp_path: Path) -> None:
    graph = tiny_graph(tmp_path)
    for name, dtype in graph_files.FILES.items():
        array = getattr(graph, name)
        assert type(array) is np.ndarray
        assert array.dtype == dtype
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_mapping_goes_with_the_last_array(tmp_path: Path) -> None:
    graph: Graph | None = tiny_graph(tmp_path)
    assert graph is not None
    kept = graph.pin_edges[2:4]
    graph = None
    gc.collect()
    assert _mapped(tmp_path) == {"pin_edges.u32"}
    assert kept.tolist() == [1, 0]
    del kept
    gc.collect()
    assert _mapped(tmp_path) == set()


def test_size_is_that_of_the_files(tmp_path: Path) -> None:
    graph = tiny_graph(tmp_path)
    on_disk = sum(path.stat().st_size for path in (tmp_path / VERSION).iterdir())
    assert graph.nbytes == graph.manifest.size_bytes
    assert graph.nbytes == on_disk - (tmp_path / VERSION / "manifest.json").stat().st_size


def test_newest_version_is_the_last_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="feedmesh pixie build"):
        graph_files.newest(tmp_path / "absent")
    for version in ("20261128T180000-b", "20251128T180000", "20261128T180000"):
        write_graph(tmp_path, EDGES, version=version)
    (tmp_path / ".building-20271128T180000").mkdir()
    (tmp_path / "20271128T180000").touch()
    assert graph_files.version_names(tmp_path)[0] == "20251128T180000"
    assert graph_files.newest(tmp_path).name == "20261128T180000-b"


def test_version_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    write_graph(tmp_path, EDGES)
    with pytest.raises(OSError, match="not empty"):
        write_graph(tmp_path, EDGES[:2])
    assert Graph.open(tmp_path / VERSION).edge_count == len(EDGES)


@pytest.mark.parametrize("name", list(graph_files.FILES))
def test_flipped_bit_is_found(tmp_path: Path, name: str) -> None:
    path = write_graph(tmp_path, random_edges(50, 20, 300, seed=5))
    file = path / graph_files.file_name(name)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(BadGraph, match=file.name):
        Graph.open(path)


@pytest.mark.parametrize("harm", ["shorter", "longer", "absent", "empty"])
def test_file_of_another_length_is_refused_without_reading_it(tmp_path: Path, harm: str) -> None:
    path = write_graph(tmp_path, EDGES)
    file = path / "board_edges.u32"
    data = file.read_bytes()
    file.write_bytes({"shorter": data[:-1], "longer": data + b"\0\0\0\0", "empty": b""}.get(harm, data))
    if harm == "absent":
        file.unlink()
    with pytest.raises(BadGraph, match=r"board_edges\.u32"):
        Graph.open(path, verify=False)


WRONG: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    "neighbour past the end": ("row 1: an edge leads", lambda a: _set(a, "pin_edges", 2, 3)),
    "edge twice": ("row 1: edges of a node are not in order", lambda a: _set(a, "pin_edges", 2, 0)),
    "edges not in order": ("board row 0: edges of a node", lambda a: _swap(a, "board_edges", 0, 1)),
    "starts descend": ("pin row 1: it has no edges", lambda a: _set(a, "pin_starts", 2, 0)),
    "node without edges": ("board row 1: it has no edges", lambda a: _set(a, "board_starts", 2, 2)),
    "start past the end": ("pin row 0: it has no edges", lambda a: _set(a, "pin_starts", 1, 2**63 + 1)),
    "first start": ("row 0: its first start is not 0", lambda a: _set(a, "pin_starts", 0, 1)),
    "last start": ("row 3: its last start is not", lambda a: _set(a, "board_starts", 3, 4)),
    "id 0": ("pin row 0: an id is 0", lambda a: _set(a, "pins", 0, 0)),
    "ids equal": ("board row 2: ids do not ascend", lambda a: _set(a, "boards", 2, 102)),
    "class without a name": ("pin row 2: a class has no name", lambda a: _set(a, "pin_classes", 2, 1)),
    "sides differ": ("not those of boards", lambda a: _set(a, "pin_edges", 4, 2, also=("pin_edges", 3, 0))),
}


@pytest.mark.parametrize(("text", "wrong"), WRONG.values(), ids=WRONG.keys())
def test_graph_that_walks_would_leave_is_refused(
    tmp_path: Path, text: str, wrong: Callable[[dict[str, Any]], None]
) -> None:
    arrays = {name: array.copy() for name, array in naive_arrays(EDGES).items()}
    degrees = {name: int(np.diff(arrays[name]).max()) for name in ("pin_starts", "board_starts")}
    wrong(arrays)
    path = write_arrays(tmp_path, arrays)
    _edit(path, pin_degree_max=degrees["pin_starts"], board_degree_max=degrees["board_starts"])
    with pytest.raises(BadGraph, match=text):
        Graph.open(path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param({"format": 2}, "another format", id="format of a later version"),
        pytest.param({"pin_count": 0}, "0", id="no pins"),
        pytest.param({"edge_count": 6}, "do not fit its counts", id="count that the files do not have"),
        pytest.param({"version": "20251128T180000"}, "not of its folder", id="copied under another name"),
        pytest.param({"class_names": ["en"]}, "classes", id="class 0 has a name"),
        pytest.param({"files": {}}, "does not tell of the files", id="files not named"),
        pytest.param({"surprise": 1}, "cannot be read", id="unknown field"),
        pytest.param({"pin_degree_max": 3}, "greatest degree of a pin is 2", id="degree"),
    ],
)
def test_manifest_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    path = write_graph(tmp_path, EDGES)
    _edit(path, **change)
    with pytest.raises(BadGraph, match=text):
        Graph.open(path)


def test_folder_without_manifest_is_no_graph(tmp_path: Path) -> None:
    path = write_graph(tmp_path, EDGES)
    (path / "manifest.json").unlink()
    with pytest.raises(BadGraph, match="manifest"):
        Graph.open(path)


def test_manifest_reads_as_it_was_written(tmp_path: Path) -> None:
    manifest = Manifest.read(write_graph(tmp_path, EDGES))
    (tmp_path / "copy" / VERSION).mkdir(parents=True)
    (tmp_path / "copy" / VERSION / "manifest.json").write_text(manifest.text())
    assert Manifest.read(tmp_path / "copy" / VERSION) == manifest


def _mapped(folder: Path) -> set[str]:
    lines = Path(f"/proc/{os.getpid()}/maps").read_text().splitlines()
    return {Path(line.split()[-1]).name for line in lines if str(folder) in line}


def _set(
    arrays: dict[str, Any], name: str, place: int, value: int, *, also: tuple[str, int, int] | None = None
) -> None:
    arrays[name][place] = np.uint64(value).astype(arrays[name].dtype)
    if also is not None:
        _set(arrays, *also)


def _swap(arrays: dict[str, Any], name: str, first: int, second: int) -> None:
    arrays[name][[first, second]] = arrays[name][[second, first]]


def _edit(path: Path, **change: Any) -> None:
    document = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**document, **change}))
