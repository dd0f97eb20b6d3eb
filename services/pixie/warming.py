"""Every kernel compiled, or loaded from the cache, with the types that requests have, before Pixie is ready.

Mapped graphs are read-only arrays, which is a type of its own to numba: so a graph of one pin is made as
`Graph.open` makes them, and walked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.pixie.graph import Graph
from services.pixie.graph_files import FILES, Manifest
from services.pixie.graph_kernels import check_edges, check_nodes, edge_digest
from services.pixie.settings import WalkSettings
from services.pixie.walk import WalkQuery
from services.pixie.walkers import Walkers


def warm() -> None:
    """Compile all; some seconds the first time."""
    graph = _one_edge()
    check_nodes(graph.pins, graph.pin_classes, 1)
    check_edges(graph.pin_starts, graph.pin_edges, graph.board_classes)
    for starts, edges, pins_own in (
        (graph.pin_starts, graph.pin_edges, True),
        (graph.board_starts, graph.board_edges, False),
    ):
        edge_digest(starts, edges, pins_own=pins_own)
    walkers = Walkers(visit_slots=16, threads=1, parallel_steps_min=1)
    rows = np.zeros(1, np.int64)
    query = WalkQuery(rows, np.ones(1), WalkSettings(step_count=8), seed=1, want_boards=True)
    for settings in (query.settings, replace(query.settings, restart=0.5, exact=False)):
        with walkers.walk(graph, replace(query, settings=settings)) as visits:
            ranked = visits.boards.best(settings, limit=1, excluded=rows)
            visits.boards.reasons(ranked, most=1)


def _one_edge() -> Graph:
    def array(name: str, *values: int) -> NDArray[Any]:
        made = np.array(values, FILES[name])
        made.flags.writeable = False
        return made

    manifest = Manifest(
        version="", pin_count=1, board_count=1, edge_count=1, pin_degree_max=1, board_degree_max=1,
        built_ms=0, source="", bias="none", class_names=("",), files={},
    )  # fmt: skip
    return Graph(
        manifest,
        **{name: array(name, *((0, 1) if name.endswith("starts") else (0,))) for name in FILES},
    )
