"""Claims about what is answered of visits: order, limits, exclusions, candidates, reasons."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.pixie.graph import Graph
from services.pixie.walkers import Walkers
from tests.pixie.graphs import random_edges, write_graph
from tests.pixie.walking import plain, query, walk, walkers

NOBODY = np.zeros(0, np.int64)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """200 pins on 100 boards."""
    return Graph.open(write_graph(tmp_path_factory.mktemp("ranked"), random_edges(200, 100, 2_000, seed=4)))


@pytest.fixture(scope="module")
def shared() -> Walkers:
    return walkers()


@settings(deadline=None)
@given(
    rows=st.lists(st.integers(0, 150), min_size=1, max_size=6, unique=True),
    limit=st.integers(1, 250),
    excluded=st.lists(st.integers(-1, 150), max_size=30),
    exact=st.booleans(),
    seed=st.integers(0, 1 << 60),
)
def test_best_are_those_of_a_full_sort(
    graph: Graph,
    shared: Walkers,
    *,
    rows: list[int],
    limit: int,
    excluded: list[int],
    exact: bool,
    seed: int,
) -> None:
    asked = query(rows, plain(step_count=500, exact=exact, degree_penalty=0.3), seed=seed)
    scores = walk(graph, asked, shared).pins
    wanted = sorted(
        ((-score, row) for row, score in scores.items() if row not in excluded), key=lambda pair: pair
    )[:limit]
    with shared.walk(graph, asked) as visits:
        ranked = visits.pins.best(asked.settings, limit=limit, excluded=np.array(excluded, np.int64))
        assert visits.pins.visited_count == len(scores)
    assert ranked.rows.tolist() == [row for _, row in wanted]
    assert ranked.scores.tolist() == [-score for score, _ in wanted]


def test_visits_are_whole_and_at_least_one_for_what_was_visited(graph: Graph, shared: Walkers) -> None:
    asked = query([150, 160], plain(step_count=60, exact=True))
    with shared.walk(graph, asked) as visits:
        ranked = visits.pins.best(asked.settings, limit=1_000, excluded=NOBODY)
    assert (ranked.scores < 0.5).any(), "no visits that would round to nothing"
    assert ranked.visits.tolist() == np.maximum(np.rint(ranked.scores), 1).tolist()


def test_degrees_are_those_of_the_graph(graph: Graph, shared: Walkers) -> None:
    with shared.walk(graph, query([0])) as visits:
        ranked = visits.pins.best(plain(), limit=50, excluded=NOBODY)
    assert ranked.degrees.tolist() == np.diff(graph.pin_starts)[ranked.rows].tolist()


def test_candidates_have_the_scores_that_the_best_have_in_the_order_asked(
    graph: Graph, shared: Walkers
) -> None:
    asked = query([0, 9], plain(step_count=300, degree_penalty=0.4))
    scores = walk(graph, asked, shared).pins
    unvisited = next(row for row in range(graph.pin_count) if row not in scores)
    visited = list(scores)[:3]
    candidates = np.array([visited[2], -1, unvisited, visited[0], visited[1]], np.int64)
    with shared.walk(graph, asked) as visits:
        ranked = visits.pins.of(asked.settings, candidates)
        reasons = visits.pins.reasons(ranked, most=2)
    assert ranked.rows.tolist() == candidates.tolist()
    assert ranked.scores.tolist() == [scores[visited[2]], 0, 0, scores[visited[0]], scores[visited[1]]]
    assert ranked.visits[[1, 2]].tolist() == [0, 0]
    assert ranked.degrees[1] == 0 < ranked.degrees[2]
    assert np.diff(reasons.starts)[[1, 2]].tolist() == [0, 0]


@pytest.mark.parametrize("most", [1, 3, 16])
def test_reasons_are_the_query_pins_with_most_visits(graph: Graph, shared: Walkers, most: int) -> None:
    # Places 0 and 3 are not in the graph: reasons count places of the request.
    rows = [-1, 5, 80, -1, 40, 9, 120, 77]
    longer = plain(step_count=6_000, restart=0.6)
    alone = {
        place: walk(graph, query([-1] * place + [row], plain(step_count=1_000, restart=0.6)), shared)
        for place, row in enumerate(rows)
        if row >= 0
    }
    asked = query(rows, longer)
    with shared.walk(graph, asked) as visits:
        for side, name in ((visits.pins, "pins"), (visits.boards, "boards")):
            ranked = side.best(longer, limit=40, excluded=NOBODY)
            reasons = side.reasons(ranked, most=most)
            for index, row in enumerate(ranked.rows.tolist()):
                led = [(-getattr(one, name).get(row, 0.0), place) for place, one in alone.items()]
                wanted = [(place, -count) for count, place in sorted(led) if count][:most]
                begin, end = reasons.starts[index], reasons.starts[index + 1]
                found = zip(
                    reasons.query_places[begin:end].tolist(), reasons.visits[begin:end].tolist(), strict=True
                )
                assert list(found) == wanted


def test_memory_is_clean_after_each_walk_and_after_one_that_failed(graph: Graph) -> None:
    again = walkers()
    first = walk(graph, query([3, 4]), again)
    with pytest.raises(RuntimeError, match="in the middle"), again.walk(graph, query([8])):
        raise RuntimeError("in the middle")
    walk(graph, query([100, 101, 102], plain(restart=0.3)), again)
    assert walk(graph, query([3, 4]), again) == first


def test_two_walks_at_a_time_have_memory_of_their_own(graph: Graph) -> None:
    both = walkers()
    alone = [walk(graph, query([row]), both) for row in (3, 90)]
    with both.walk(graph, query([3])) as first, both.walk(graph, query([90])) as second:
        found = [visits.pins.best(plain(), limit=500, excluded=NOBODY) for visits in (first, second)]
    for ranked, wanted in zip(found, alone, strict=True):
        assert dict(zip(ranked.rows.tolist(), ranked.scores.tolist(), strict=True)) == wanted.pins
