"""Claims about walks: where they lead, how often, and that the same walk leads there again."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.pixie.graph import Graph
from services.pixie.walk import degree_scale, share_out
from tests.pixie.by_hand import expected
from tests.pixie.graphs import random_edges, tiny_graph, write_graph
from tests.pixie.walking import plain, query, walk, walkers


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return tiny_graph(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def middle(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """200 pins on 100 boards."""
    return Graph.open(write_graph(tmp_path_factory.mktemp("middle"), random_edges(200, 100, 2_000, seed=3)))


def chi_square(found: dict[int, float], wanted: dict[int, float]) -> float:
    """Pearson's statistic, in standard deviations of its distribution from its mean."""
    cells = {row: value for row, value in wanted.items() if value > 5}
    statistic = sum((found.get(row, 0.0) - value) ** 2 / value for row, value in cells.items())
    return (statistic - len(cells)) / math.sqrt(2 * len(cells))


@pytest.mark.parametrize("preferred", [0, 1, 2], ids=["no bias", "to en", "to fr"])
def test_round_trips_are_distributed_as_by_hand(tiny: Graph, preferred: int) -> None:
    for row in range(tiny.pin_count):
        settings = plain(step_count=20_000, bias=0.7)
        found = walk(tiny, query([row], settings, preferred=preferred, seed=row))
        bias = 0.7 if preferred else 0.0
        pins, boards = expected(tiny, row, steps=20_000, restart=1.0, bias=bias, preferred=preferred)
        assert set(found.pins) <= {pin for pin, value in pins.items() if value}
        # Of independent draws: beyond four deviations once in tens of thousands.
        assert abs(chi_square(dict(found.pins), pins)) < 4
        assert abs(chi_square(dict(found.boards), boards)) < 4


@pytest.mark.parametrize("preferred", [0, 2], ids=["no bias", "to fr"])
@pytest.mark.parametrize("restart", [0.2, 0.5, 0.9])
def test_walks_with_restart_visit_what_is_expected(tiny: Graph, restart: float, preferred: int) -> None:
    # Visits of one walk depend on each other: the mean of many runs is judged by how much they differ.
    settings = plain(step_count=2_000, restart=restart, bias=0.6)
    runs = [walk(tiny, query([1], settings, preferred=preferred, seed=seed)) for seed in range(60)]
    bias = 0.6 if preferred else 0.0
    pins, boards = expected(tiny, 1, steps=2_000, restart=restart, bias=bias, preferred=preferred)
    for side, wanted in (("pins", pins), ("boards", boards)):
        for row, value in wanted.items():
            counts = np.array([getattr(run, side).get(row, 0.0) for run in runs])
            error = max(counts.std(ddof=1) / math.sqrt(len(runs)), 0.05)
            assert abs(counts.mean() - value) < 4 * error + 0.002 * value


def test_every_step_is_made_and_every_visit_counted(middle: Graph) -> None:
    for restart in (0.3, 1.0):
        found = walk(middle, query([0, 5, 70], plain(step_count=9_999, restart=restart)))
        assert found.counts.step_count == sum(found.pins.values()) == sum(found.boards.values()) == 9_999


def test_exact_walks_expect_what_is_computed_by_hand(tiny: Graph) -> None:
    for row in range(tiny.pin_count):
        for preferred in (0, 1, 2):
            settings = plain(step_count=1_000, exact=True, bias=0.7)
            found = walk(tiny, query([row], settings, preferred=preferred))
            bias = 0.7 if preferred else 0.0
            pins, boards = expected(tiny, row, steps=1_000, restart=1.0, bias=bias, preferred=preferred)
            assert dict(found.pins) == pytest.approx(pins, rel=1e-5)
            assert dict(found.boards) == pytest.approx(boards, rel=1e-5)
            assert found.counts.step_count == 1_000


def test_exact_draws_where_there_are_more_ways_than_steps_pay_for(middle: Graph) -> None:
    few, many = plain(step_count=20, exact=True), plain(step_count=100_000, exact=True)
    assert all(visits == int(visits) for visits in walk(middle, query([0], few)).pins.values())
    assert any(visits != int(visits) for visits in walk(middle, query([0], many)).pins.values())


def test_same_seed_has_the_same_answer_and_another_seed_another(middle: Graph) -> None:
    settings = plain(restart=0.5)
    first = walk(middle, query([0, 1, 2], settings, seed=7))
    assert walk(middle, query([0, 1, 2], settings, seed=7)) == first
    assert walk(middle, query([0, 1, 2], settings, seed=8)) != first


@pytest.mark.parametrize("exact", [False, True])
def test_answer_does_not_depend_on_threads(middle: Graph, exact: bool) -> None:
    settings = plain(step_count=30_000, restart=1.0 if exact else 0.4, exact=exact, booster=True)
    asked = query(list(range(40)), settings, weights=[1.0 + row for row in range(40)])
    alone = walk(middle, asked)
    for threads in (2, 3, 8):
        with_more = walkers(threads=threads)
        assert [walk(middle, asked, with_more) for _ in range(3)] == [alone] * 3
        with_more.close()


def test_walks_of_query_pins_do_not_depend_on_each_other(middle: Graph) -> None:
    # Steps are shared: twice the steps for two give each what it had alone.
    alone = walk(middle, query([4], plain(step_count=500, restart=0.5)))
    both = walk(middle, query([4, 9], plain(step_count=1_000, restart=0.5)))
    second = {row: both.pins[row] - alone.pins.get(row, 0.0) for row in both.pins}
    assert min(second.values()) >= 0
    assert sum(second.values()) == 500


def test_query_pins_that_the_graph_lacks_are_counted_and_left_out(middle: Graph) -> None:
    found = walk(middle, query([-1, 3, -1]))
    assert found.counts.unknown_query_count == 2
    assert found.counts.step_count == 10_000
    nobody = walk(middle, query([-1]))
    assert (nobody.pins, nobody.counts.step_count) == ({}, 0)
    assert walk(middle, query([-1, -1]), walkers(threads=2)).pins == {}


def test_booster_is_the_square_of_the_sum_of_roots(middle: Graph) -> None:
    rows = [0, 1, 2]
    boosted = walk(middle, query(rows, plain(step_count=3_000, booster=True)))
    alone = [
        walk(middle, query([-1] * place + [row], plain(step_count=1_000))) for place, row in enumerate(rows)
    ]
    wanted = {
        pin: sum(math.sqrt(one.pins.get(pin, 0.0)) for one in alone) ** 2
        for pin in set().union(*(one.pins for one in alone))
    }
    assert dict(boosted.pins) == pytest.approx(wanted, rel=1e-6)


def test_booster_changes_nothing_for_one_query_pin(middle: Graph) -> None:
    assert dict(walk(middle, query([3], plain(booster=True))).pins) == pytest.approx(
        dict(walk(middle, query([3])).pins), rel=1e-6
    )


def test_scores_are_divided_by_degree_to_the_power(middle: Graph) -> None:
    bare, penalised = (walk(middle, query([3, 8], plain(degree_penalty=penalty))) for penalty in (0.0, 0.4))
    degrees = np.diff(middle.pin_starts).astype(float)
    wanted = {row: visits / degrees[row] ** 0.4 for row, visits in bare.pins.items()}
    assert dict(penalised.pins) == pytest.approx(wanted, rel=1e-5)


def test_walks_end_early_when_enough_pins_were_visited_often_enough(middle: Graph) -> None:
    early = plain(step_count=100_000, restart=0.5, early_stop_pins=20, early_stop_visits=4)
    found = walk(middle, query([0, 150], early))
    assert found.counts.early_stop_count == 2
    assert found.counts.step_count == sum(found.pins.values()) < 50_000
    one = walk(middle, query([0], early))
    # Lanes end together: at most one more visit each after the last pin that was needed.
    assert 20 < sum(visits >= 4 for visits in one.pins.values()) <= 20 + 64


def test_early_stop_needs_both_of_its_numbers(middle: Graph) -> None:
    for half in ({"early_stop_pins": 1}, {"early_stop_visits": 1}):
        found = walk(middle, query([0], plain(restart=0.5, **half)))
        assert (found.counts.step_count, found.counts.early_stop_count) == (10_000, 0)


@pytest.mark.parametrize("exact", [False, True])
def test_visits_without_room_are_dropped_and_counted(middle: Graph, exact: bool) -> None:
    settings = plain(step_count=20_000, exact=exact)
    asked = query(list(range(10)), settings)
    narrow = walkers(visit_slots=100)
    whole, cut = walk(middle, asked), walk(middle, asked, narrow)
    assert whole.counts.dropped_visit_count == 0
    assert cut.counts.dropped_visit_count > 0
    assert 0 < len(cut.pins) <= 100
    assert all(visits <= whole.pins[row] + 1e-3 for row, visits in cut.pins.items())
    if not exact:
        lost = 2 * 20_000 - sum(cut.pins.values()) - sum(cut.boards.values())
        assert cut.counts.dropped_visit_count == lost
    # What is dropped does not depend on threads, either, and the memory is clean afterwards.
    assert walk(middle, asked, walkers(visit_slots=100, threads=4)) == cut
    assert walk(middle, asked, narrow) == cut


def test_tables_that_hash_count_as_those_that_hold_every_row(tmp_path: Path) -> None:
    # 3,000 pins and few steps: a table with a slot for each pin would be larger than the walk needs.
    graph = Graph.open(write_graph(tmp_path, random_edges(3_000, 400, 12_000, seed=5)))
    for seed in range(20):
        found = walk(graph, query([seed, seed + 50], plain(step_count=400, restart=0.4), seed=seed))
        assert sum(found.pins.values()) == sum(found.boards.values()) == 400


def test_steps_by_degree_follow_the_paper_and_never_vanish(middle: Graph) -> None:
    degrees = np.diff(middle.pin_starts).astype(float)
    rows = np.arange(middle.pin_count)
    scale = degree_scale(middle, rows)
    assert scale == pytest.approx(degrees * (math.log(degrees.max() + 1) - np.log(degrees)))
    assert scale.min() > 0
    pair = [int(np.argmin(degrees)), int(np.argsort(degrees)[-20])]
    by_degree = walk(middle, query(pair, plain(steps_by_degree=True)))
    alone = walk(middle, query([pair[0]], plain(steps_by_degree=True)))
    share = scale[pair[0]] / scale[pair].sum()
    assert by_degree.counts.step_count == alone.counts.step_count == 10_000
    # The rare pin leads to few others, which tell how many steps it was given.
    own = set(alone.pins) - set(walk(middle, query([-1, pair[1]])).pins)
    if own:
        found, wanted = (sum(one.pins.get(pin, 0.0) for pin in own) for one in (by_degree, alone))
        assert found == pytest.approx(wanted * share, rel=0.5)


@given(
    st.lists(st.floats(1e-20, 1e20), min_size=1, max_size=50),
    st.integers(0, 10_000_000),
)
def test_shares_add_up_and_are_within_one_of_exact(weights: list[float], total: int) -> None:
    given_ = np.array(weights)
    parts = share_out(given_, total)
    assert parts.sum() == total
    assert (parts >= 0).all()
    exact = given_ / given_.max()
    assert (np.abs(parts - exact / exact.sum() * total) <= 1.01).all()
