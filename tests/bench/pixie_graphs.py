"""The graphs of `pixie`, built as `feedmesh pixie build` builds them: real saves, and ten times as many.

The larger one has ten times the pins, boards and edges: boards have the sizes of the real ones, ten times
over, and draw their pins by the popularity of the real ones, ten times over. So degrees are distributed
alike, and which pins lie together is chance. Where the real saves are not, a graph of their shape is drawn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.pixie.building.build import build
from services.pixie.building.edge_files import EdgeFile
from services.pixie.building.options import BuildOptions
from services.pixie.graph import Graph
from services.pixie.graph_files import newest
from tests.quality.data_files import NoData, pinterest

TIMES = 10


@dataclass(frozen=True)
class BenchGraph:
    """A graph, and how long it took to build; 0 when it was there."""

    name: str
    folder: Path
    graph: Graph
    build_s: float


def prepare(root: Path) -> tuple[list[BenchGraph], list[str]]:
    """Both graphs, built at the first call, and notes."""
    notes = []
    try:
        saves = pinterest()
        pins, sizes = saves.pins, np.diff(saves.starts)
        real = "real saves"
    except NoData as reason:
        notes.append(f"a drawn graph of the real one's shape: {reason}")
        pins, sizes = _drawn_like_saves()
        real = "drawn saves"
    boards = np.repeat(np.arange(sizes.size), sizes)
    graphs = [
        _graph(root / real.replace(" ", "-"), real, lambda: (pins, boards)),
        _graph(
            root / f"{real.replace(' ', '-')}-{TIMES}", f"{TIMES} times {real}", lambda: _larger(pins, sizes)
        ),
    ]
    for one in graphs:
        graph = one.graph
        notes.append(
            f"{one.name}: {graph.pin_count:,} pins, {graph.board_count:,} boards, "
            f"{graph.edge_count:,} edges, {graph.nbytes / 1e6:.0f} MB"
            + (f", built in {one.build_s:.1f} s" if one.build_s else "")
        )
    return graphs, notes


def draw_rows(graph: Graph, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Distinct rows of pins, each by its edges; fewer than `count` only in a tiny graph."""
    drawn = graph.board_edges[rng.integers(graph.edge_count, size=3 * count)]
    return rng.permutation(np.unique(drawn).astype(np.int64))[:count]


def _graph(root: Path, name: str, edges: Callable[[], tuple[NDArray[Any], NDArray[Any]]]) -> BenchGraph:
    graphs_dir, took_s = root / "graphs", 0.0
    if not (root / "built").exists():
        root.mkdir(parents=True, exist_ok=True)
        pins, boards = edges()
        np.savez(root / "edges.npz", pin=pins.astype(np.uint64) + 1, board=boards.astype(np.uint64) + 1)
        began = time.perf_counter()
        build(EdgeFile(root / "edges.npz"), graphs_dir, BuildOptions(), now_ms=int(time.time() * 1000))
        took_s = time.perf_counter() - began
        (root / "built").touch()
    return BenchGraph(name, graphs_dir, Graph.open(newest(graphs_dir)), took_s)


def _larger(pins: NDArray[np.int64], sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rng = np.random.default_rng(1)
    popularity = np.tile(np.bincount(pins), TIMES)
    boards = np.repeat(np.arange(sizes.size * TIMES), np.tile(sizes, TIMES))
    # Neighbours in memory would be neighbours in popularity otherwise.
    shuffled = rng.permutation(popularity.size)
    return shuffled[_draw(popularity, boards.size, rng)], boards


def _drawn_like_saves() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pins of boards, and sizes of boards: as many as the real ones have, heavy tails on both sides."""
    rng = np.random.default_rng(2)
    sizes = np.clip(rng.lognormal(3.0, 0.55, 37_500), 10, 500).astype(np.int64)
    popularity = np.exp(rng.normal(0.0, 1.0, 9_800))
    return _draw(popularity, int(sizes.sum()), rng), sizes


def _draw(weights: NDArray[Any], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    ends = np.cumsum(weights)
    drawn: NDArray[np.int64] = np.searchsorted(ends, rng.random(count) * ends[-1], side="right")
    return drawn
