"""A build is held against the same graph made the naive way, with memory so small that everything spills."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.errors import BadRequest
from services.pixie import graph_files
from services.pixie.building import external_sort, options
from services.pixie.building.build import Built, build
from services.pixie.building.options import Bias, BuildOptions
from services.pixie.building.source import BadSource
from services.pixie.graph import Graph
from tests.pixie.edge_lists import ListSource, boards_by_size, present
from tests.pixie.graphs import BUILT_MS, VERSION, Arrays, naive_arrays, random_edges

TINY = BuildOptions(memory_bytes=4_096)
"""128 edges in a run, 64 with states: thousands of edges make tens of runs."""

IDS = st.one_of(st.integers(1, 12), st.integers(2**64 - 12, 2**64 - 1), st.integers(1, 2**64 - 1))
EDGES = st.lists(st.tuples(IDS, IDS), min_size=1, max_size=60)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let memory be tiny, and pieces small enough that everything comes in several."""
    monkeypatch.setattr(options, "MEMORY_BYTES_MIN", 1)
    monkeypatch.setattr(external_sort, "PIECE_KEYS", 50)


@settings(max_examples=60, deadline=None)
@given(edges=EDGES, memory_bytes=st.sampled_from([1, 2_048, 1 << 20]))
def test_arrays_are_those_of_the_naive_build(edges: list[tuple[int, int]], memory_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        graph = _graph(_build(Path(folder), ListSource(edges), BuildOptions(memory_bytes=memory_bytes)))
        _assert_same(graph, naive_arrays(edges))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_last_state_of_an_edge_counts_unless_its_board_was_deleted(data: st.DataObject) -> None:
    ids = st.integers(1, 6)
    pairs = data.draw(st.lists(st.tuples(ids, ids), min_size=1, max_size=80))
    times = data.draw(
        st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=len(pairs), max_size=len(pairs))
    )
    deleted = data.draw(st.dictionaries(st.integers(1, 9), st.integers(0, 9), max_size=3))
    source = ListSource(pairs, times=times, deleted=deleted)
    left = present(source)
    with tempfile.TemporaryDirectory() as folder:
        if not left:
            with pytest.raises(BadSource, match="is left"):
                _build(Path(folder), source, TINY)
            return
        built = _build(Path(folder), source, BuildOptions(memory_bytes=1))
        _assert_same(_graph(built), naive_arrays(left))
        assert built.manifest.counts["edges_removed"] == len(set(pairs)) - len(left)


@settings(max_examples=40, deadline=None)
@given(
    edges=EDGES,
    languages=st.dictionaries(st.integers(1, 12), st.sampled_from(["en", "fr", "de", ""]), max_size=12),
)
def test_boards_are_of_the_class_of_most_pins(
    edges: list[tuple[int, int]], languages: dict[int, str]
) -> None:
    known = [(pin, language, ()) for pin, language in languages.items()]
    with tempfile.TemporaryDirectory() as folder:
        source = ListSource(edges, known=known)
        graph = _graph(_build(Path(folder), source, BuildOptions(memory_bytes=512, bias=Bias.LANGUAGE)))
        names = graph.class_names
        pin_classes = {pin: names.index(language) for pin, language in languages.items()}
        board_classes = {}
        for board in {board for _, board in edges}:
            votes = [pin_classes.get(pin, 0) for pin in {pin for pin, of in edges if of == board}]
            voted = sorted({class_ for class_ in votes if class_}, key=lambda of: (-votes.count(of), of))
            board_classes[board] = voted[0] if voted else 0
        _assert_same(graph, naive_arrays(edges, pin_classes=pin_classes, board_classes=board_classes))


def test_many_runs_make_the_graph_of_one(tmp_path: Path) -> None:
    edges = random_edges(3_000, 700, 20_000, seed=11)
    small = _build(tmp_path / "small", ListSource(edges, chunk=997), TINY)
    large = _build(tmp_path / "large", ListSource(edges[::-1], chunk=20_000), BuildOptions())
    assert small.manifest.files == large.manifest.files
    assert small.manifest.counts["edges_repeated"] == len(edges) - len(set(edges)) > 0
    _assert_same(_graph(small), naive_arrays(edges))


def test_order_and_pieces_of_removals_do_not_matter_where_times_differ(tmp_path: Path) -> None:
    rng = random.Random(4)
    pairs = [(1 + rng.randrange(200), 1 + rng.randrange(60)) for _ in range(6_000)]
    events = [(pair, (time, rng.random() < 0.6)) for time, pair in enumerate(pairs, start=1)]
    whole = ListSource([pair for pair, _ in events], times=[time for _, time in events], deleted={7: 3_000})
    rng.shuffle(events)
    mixed = ListSource(
        [pair for pair, _ in events], times=[time for _, time in events], deleted={7: 3_000}, chunk=101
    )
    first = _build(tmp_path / "whole", whole, BuildOptions())
    second = _build(tmp_path / "mixed", mixed, TINY)
    assert first.manifest.files == second.manifest.files
    _assert_same(_graph(first), naive_arrays(present(whole)))


def test_first_interest_is_the_class_and_the_last_attributes_count(tmp_path: Path) -> None:
    source = ListSource(
        [(1, 10), (2, 10), (3, 10), (4, 11)],
        known=[
            (3, "", ["plants"]),
            (1, "en", ["cooking", "plants"]),
            (2, "en", ["plants"]),
            (9, "", ["boats"]),
            (3, "", ["cooking"]),
        ],
        chunk=2,
    )
    graph = _graph(_build(tmp_path, source, BuildOptions(bias=Bias.INTEREST)))
    named = [graph.class_names[class_] for class_ in graph.pin_classes.tolist()]
    assert named == ["cooking", "plants", "cooking", ""]
    assert [graph.class_names[class_] for class_ in graph.board_classes.tolist()] == ["cooking", ""]
    assert graph.manifest.bias == "interest"
    assert graph.manifest.counts["pins_with_attributes"] == 3


def test_manifest_tells_how_it_was_built(tmp_path: Path) -> None:
    built = _build(tmp_path, ListSource([(1, 10), (2, 10), (3, 11)]), BuildOptions(min_board_pins=2))
    manifest = graph_files.Manifest.read(built.folder)
    assert manifest == built.manifest
    assert (manifest.pin_count, manifest.board_count, manifest.edge_count) == (2, 1, 2)
    assert manifest.parameters["min_board_pins"] == 2
    assert manifest.source == "a list"
    assert manifest.built_ms == BUILT_MS
    assert {name: manifest.counts[name] for name in ("edges_read", "boards_too_small", "pins_left_out")} == {
        "edges_read": 3,
        "boards_too_small": 1,
        "pins_left_out": 1,
    }


@settings(max_examples=40, deadline=None)
@given(edges=EDGES, least=st.integers(1, 3), more=st.integers(0, 3))
def test_boards_of_other_sizes_are_left_out(edges: list[tuple[int, int]], least: int, more: int) -> None:
    most = least + more if more else 0
    left = boards_by_size(set(edges), least=least, most=most)
    chosen = BuildOptions(memory_bytes=1, min_board_pins=least, max_board_pins=most)
    with tempfile.TemporaryDirectory() as folder:
        if not left:
            with pytest.raises(BadSource, match="is left"):
                _build(Path(folder), ListSource(edges), chosen)
            return
        _assert_same(_graph(_build(Path(folder), ListSource(edges), chosen)), naive_arrays(left))


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        pytest.param({"pin_degree_power": 0.0}, "delta", id="power of 0"),
        pytest.param({"pin_degree_power": 1.1}, "delta", id="power over 1"),
        pytest.param({"board_entropy_drop": 1.0}, "entropy", id="all boards diverse"),
        pytest.param({"min_board_pins": 0}, "at least 1", id="boards of none"),
        pytest.param({"min_board_pins": 5, "max_board_pins": 4}, "there are none", id="no size fits"),
        pytest.param({"memory_bytes": 0}, "memory", id="no memory"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path: Path, chosen: dict[str, float], text: str) -> None:
    with pytest.raises(BadRequest, match=text):
        _build(tmp_path / "graphs", ListSource([(1, 2)]), BuildOptions(**chosen))  # type: ignore[arg-type]
    assert not (tmp_path / "graphs").exists()


def test_no_edges_make_no_graph(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="no edges"):
        _build(tmp_path, ListSource([]), BuildOptions())
    assert graph_files.version_names(tmp_path) == []


def _build(graphs_dir: Path, source: ListSource, chosen: BuildOptions) -> Built:
    return build(source, graphs_dir, chosen, now_ms=BUILT_MS)


def _graph(built: Built) -> Graph:
    assert built.folder.name == VERSION
    assert {path.name for path in built.folder.iterdir()} == {
        "manifest.json",
        *(graph_files.file_name(name) for name in graph_files.FILES),
    }
    return Graph.open(built.folder)


def _assert_same(graph: Graph, arrays: Arrays) -> None:
    for name, array in arrays.items():
        assert np.array_equal(getattr(graph, name), array), name
