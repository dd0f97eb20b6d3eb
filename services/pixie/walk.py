"""A walk: weighted query pins in, visits of pins and boards out, ready to be ranked.

After Eksombatchai et al., WWW 2018, arXiv 1711.07601. `plan` gives steps and seeds to query pins, the kernels
walk, `Visits` ranks what was found. Deterministic: the same query on the same graph has the same visits,
whatever the number of threads.
Refuses nothing: `requests.py` has checked. Next: `walkers.py` (threads and memory), `walk_kernels.py`,
`ranking.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.chassis.columns.mixing import mix64_kernel
from services.pixie.graph import Graph
from services.pixie.settings import WalkSettings
from services.pixie.walk_kernels import WAYS_A_STEP, How, Queries, Sides


@dataclass(frozen=True, slots=True, eq=False)
class WalkQuery:
    """What is asked of a walk."""

    rows: NDArray[np.int64]
    """Rows of query pins, each once; -1: the graph does not have it."""
    weights: NDArray[np.float64]
    """Aligned, over 0."""
    settings: WalkSettings
    seed: int
    preferred: int = 0
    """Class that biased walks prefer; 0: none."""
    want_boards: bool = False
    """Whether boards are counted, too."""


@dataclass(frozen=True, slots=True)
class WalkCounts:
    """How a walk went; the fields of the protos' `WalkReport`."""

    unknown_query_count: int
    step_count: int
    early_stop_count: int
    dropped_visit_count: int


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Query pins that the graph has, and what each is given."""

    queries: Queries
    places: NDArray[np.int64]
    """Of each in the request."""


def plan(graph: Graph, query: WalkQuery, *, room: int) -> Plan:
    """Steps, room in the logs and a seed for each query pin. `room`: distinct visits that logs can hold."""
    places = np.flatnonzero(query.rows >= 0)
    rows, weights = query.rows[places], query.weights[places]
    if query.settings.steps_by_degree:
        weights = weights * degree_scale(graph, rows)
    steps = share_out(weights, query.settings.step_count)
    # What a query pin visits at most: nothing is dropped while that fits.
    a_step = WAYS_A_STEP if query.settings.exact else 1
    fits = a_step * query.settings.step_count <= room
    rooms = a_step * steps if fits else share_out(weights, room)
    starts = np.cumsum(rooms) - rooms
    seeds = np.array([_seed(query.seed, place) for place in places.tolist()], np.uint64)
    return Plan(Queries(rows, steps, rooms, starts, seeds), places)


def degree_scale(graph: Graph, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """How steps grow with a query pin's degree: s = |E| (C - log |E|) (paper, equation 1).

    The paper's C, the greatest degree, would leave no effect to the logarithm: the greatest *log* degree is
    meant. It is taken of one more, so that the pin of the greatest degree keeps some steps.
    """
    degrees = (graph.pin_starts[rows + 1] - graph.pin_starts[rows]).astype(np.float64)
    scale: NDArray[np.float64] = degrees * (np.log(graph.manifest.pin_degree_max + 1.0) - np.log(degrees))
    return scale


def share_out(weights: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """`total` in whole parts by weight, each within 1 of its exact share."""
    if not weights.size:
        return np.zeros(0, np.int64)
    # Of the greatest, so that sums neither overflow nor vanish.
    ends = np.cumsum(weights / weights.max())
    parts: NDArray[np.int64] = np.diff(np.rint(ends / ends[-1] * total).astype(np.int64), prepend=0)
    return parts


def sides(graph: Graph) -> Sides:
    """The graph as kernels take it."""
    return Sides(
        graph.pin_starts,
        graph.pin_edges,
        graph.pin_classes,
        graph.board_starts,
        graph.board_edges,
        graph.board_classes,
    )


def how(query: WalkQuery) -> How:
    """Settings as kernels take them."""
    settings = query.settings
    stops = settings.early_stop_pins > 0 and settings.early_stop_visits > 0
    biased = query.preferred > 0 and settings.bias > 0
    return How(
        restart=settings.restart,
        early_stop_pins=settings.early_stop_pins if stops else 0,
        early_stop_visits=settings.early_stop_visits if stops else 0,
        bias=settings.bias if biased else 0.0,
        preferred=query.preferred if biased else 0,
        exact=settings.exact,
        boards=query.want_boards,
    )


def _seed(seed: int, place: int) -> int:
    # Twice: places that follow each other must not give random numbers that do.
    return int(mix64_kernel(np.uint64(seed) ^ mix64_kernel(np.uint64(place + 1))))
