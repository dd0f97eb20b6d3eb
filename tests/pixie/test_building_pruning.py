"""Pruning is held against the same choice made the naive way, from the definition."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.pixie.building import options
from services.pixie.building.build import Built, build
from services.pixie.building.options import BuildOptions
from services.pixie.graph import Graph
from tests.pixie.edge_lists import Edge, ListSource, cosine, entropy
from tests.pixie.graphs import BUILT_MS, naive_arrays, random_edges

TOPICS = ["cooking", "plants", "boats", "chairs"]
IDS = st.integers(1, 8)
EDGES = st.lists(st.tuples(IDS, IDS), min_size=1, max_size=40)
INTERESTS = st.dictionaries(IDS, st.lists(st.sampled_from(TOPICS), unique=True, max_size=3), max_size=8)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "MEMORY_BYTES_MIN", 1)


@settings(max_examples=60, deadline=None)
@given(edges=EDGES, interests=INTERESTS, share=st.sampled_from([0.1, 0.34, 0.5, 0.9]))
def test_the_boards_of_the_most_diverse_topics_are_left_out(
    edges: list[Edge], interests: dict[int, list[str]], share: float
) -> None:
    pairs = set(edges)
    boards = sorted({board for _, board in pairs})
    bits = {board: entropy(board, pairs, interests) for board in boards}
    with tempfile.TemporaryDirectory() as folder:
        graph = _graph(Path(folder), edges, interests, BuildOptions(memory_bytes=1, board_entropy_drop=share))
        left_out = set(boards) - set(graph.boards.tolist())
        diverse_count = sum(1 for board in boards if bits[board] > 1e-6)
        assert len(left_out) == min(int(share * len(boards)), diverse_count)
        least = min((bits[board] for board in left_out), default=math.inf)
        assert all(bits[board] <= least + 1e-5 for board in graph.boards.tolist())
        _assert_edges(graph, {edge for edge in pairs if edge[1] not in left_out})


@settings(max_examples=60, deadline=None)
@given(edges=EDGES, interests=INTERESTS, power=st.sampled_from([0.3, 0.5, 0.91]))
def test_a_pin_keeps_the_edges_that_are_most_like_it(
    edges: list[Edge], interests: dict[int, list[str]], power: float
) -> None:
    pairs = set(edges)
    sizes = {board: sum(1 for _, of in pairs if of == board) for _, board in pairs}
    with tempfile.TemporaryDirectory() as folder:
        chosen = BuildOptions(memory_bytes=1, pin_degree_power=power)
        graph = _graph(Path(folder), edges, interests, chosen)
        kept = _edges(graph)
        assert kept <= pairs
        for pin in {pin for pin, _ in pairs}:
            own = {edge for edge in pairs if edge[0] == pin}
            assert len(own & kept) == math.ceil(len(own) ** power - 1e-9)
            for stays in own & kept:
                for goes in own - kept:
                    more = cosine(stays, pairs, interests) - cosine(goes, pairs, interests)
                    assert more > -1e-6
                    # Alike: the smaller board stays.
                    assert more > 1e-6 or sizes[stays[1]] <= sizes[goes[1]]
        _assert_edges(graph, kept)


def test_blocks_and_runs_do_not_change_what_is_pruned(tmp_path: Path) -> None:
    edges = random_edges(400, 150, 6_000, seed=9)
    rng = np.random.default_rng(2)
    interests = {pin: [TOPICS[pin % 4], TOPICS[rng.integers(4)]] for pin in range(1, 401, 2)}
    built = [
        _build(
            tmp_path / f"{memory_bytes}",
            edges[::step],
            interests,
            BuildOptions(
                memory_bytes=memory_bytes,
                board_entropy_drop=0.1,
                pin_degree_power=0.7,
                min_board_pins=25,
                max_board_pins=36,
            ),
        )
        for memory_bytes, step in ((2_048, 1), (1 << 28, -1))
    ]
    assert built[0].manifest.files == built[1].manifest.files
    counts = built[0].manifest.counts
    assert counts == built[1].manifest.counts
    pruned = ("boards_too_small", "boards_too_large", "boards_too_diverse", "edges_pruned_of_pins")
    assert all(counts[name] > 0 for name in pruned)
    left = counts["edges_read"] - counts["edges_repeated"] - counts["edges_of_boards_left_out"]
    assert left - counts["edges_pruned_of_pins"] == built[0].manifest.edge_count


def test_without_topics_the_share_of_diverse_boards_is_none(tmp_path: Path) -> None:
    built = _build(tmp_path, [(1, 1), (2, 1), (3, 2)], {}, BuildOptions(board_entropy_drop=0.5))
    assert built.manifest.counts["boards_too_diverse"] == 0
    assert built.manifest.edge_count == 3


def test_boards_alike_are_not_chosen_by_id(tmp_path: Path) -> None:
    pins, boards = range(1, 201), range(1, 41)
    edges = [(pin, board) for pin in pins for board in boards]
    graph = _graph(tmp_path, edges, {}, BuildOptions(pin_degree_power=0.5))
    kept = np.bincount(graph.pin_edges, minlength=40)
    assert graph.edge_count == 200 * 7
    # 35 a board are expected; all of them at the first seven boards is what ids would do.
    assert kept.min() > 10
    assert kept.max() < 70


def _build(
    graphs_dir: Path, edges: list[Edge], interests: dict[int, list[str]], chosen: BuildOptions
) -> Built:
    known = [(pin, "", names) for pin, names in interests.items()]
    return build(ListSource(edges, known=known or None), graphs_dir, chosen, now_ms=BUILT_MS)


def _graph(
    graphs_dir: Path, edges: list[Edge], interests: dict[int, list[str]], chosen: BuildOptions
) -> Graph:
    return Graph.open(_build(graphs_dir, edges, interests, chosen).folder)


def _edges(graph: Graph) -> set[Edge]:
    pins = np.repeat(graph.pins, np.diff(graph.pin_starts).astype(np.int64)).tolist()
    return set(zip(pins, graph.boards[graph.pin_edges].tolist(), strict=True))


def _assert_edges(graph: Graph, edges: set[Edge]) -> None:
    for name, array in naive_arrays(edges).items():
        assert np.array_equal(getattr(graph, name), array), name
