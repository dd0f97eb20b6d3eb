"""Pairs are read alike from every kind of file and from a graph, and what is wrong is said with its place."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cli.factors.pairs import Pairs, paired, read_pairs
from services.cli.faults import UsageFault
from tests.pixie.graphs import write_graph

BOARDS, PINS = [7, 7, 2**63, 9, 7], [30, 10, 10, 20, 30]


def rows_of(pairs: Pairs) -> list[list[tuple[int, float]]]:
    """Each board's pins and weights."""
    whole = list(zip(pairs.pins[pairs.columns].tolist(), pairs.weights.tolist(), strict=True))
    bounds = pairs.starts.tolist()
    return [whole[start:end] for start, end in pairwise(bounds)]


EXPECTED = [[(10, 1.0), (30, 1.0)], [(20, 1.0)], [(10, 1.0)]]
"""Of boards 7, 9 and 2^63."""


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz", "users"])
def test_a_file_of_pairs_is_a_matrix_of_boards_and_pins(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"pairs.{'npz' if kind == 'users' else kind}"
    if kind == "csv":
        lines = [f"{pin},{board}" for pin, board in zip(PINS, BOARDS, strict=True)]
        path.write_text("\n".join(["pin,board", *lines]))
    elif kind == "parquet":
        boards = pa.array(BOARDS, pa.uint64())
        pq.write_table(pa.table({"title": ["x"] * 5, "board": boards, "pin": PINS}), path)
    elif kind == "npz":
        np.savez(path, boards=np.array(BOARDS, np.uint64), pins=np.array(PINS))
    else:
        np.savez(path, users=np.array(BOARDS, np.uint64), pins=np.array(PINS, np.uint16))
    pairs = read_pairs(path)
    assert (rows_of(pairs), pairs.pins.tolist()) == (EXPECTED, [10, 20, 30])
    assert (pairs.board_count, pairs.pair_count, pairs.source) == (3, 4, path.name)


def test_a_weight_is_read_and_of_a_pair_that_comes_twice_the_greatest_counts(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("board,pin,weight\n1,10,0.5\n1,10,2.5\n1,11,1\n")
    assert rows_of(read_pairs(path)) == [[(10, 2.5), (11, 1.0)]]


def test_the_newest_graph_of_a_folder_is_read(tmp_path: Path) -> None:
    write_graph(tmp_path, [(10, 7)], version="20260101T000000")
    newest = write_graph(tmp_path, zip(PINS, BOARDS, strict=True), version="20261128T000000")
    pairs = read_pairs(tmp_path)
    assert rows_of(pairs) == EXPECTED
    assert pairs.source == "graph 20261128T000000"
    assert rows_of(read_pairs(newest)) == EXPECTED


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=60))
def test_every_pair_is_there_once(drawn: list[tuple[int, int]]) -> None:
    boards, pins = (np.array(side, np.uint64) for side in zip(*drawn, strict=True))
    pairs = paired(boards, pins, np.ones(len(drawn), np.float32), source="drawn")
    whole = [[pin for pin, _ in row] for row in rows_of(pairs)]
    names = sorted({board for board, _ in drawn})
    assert whole == [sorted({pin for board, pin in drawn if board == name}) for name in names]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        pytest.param("pairs.csv", "pin,shop\n1,2\n", "pin and board", id="other columns"),
        pytest.param("pairs.csv", "pin,board\n1,bob\n", "cannot be read", id="no number"),
        pytest.param("pairs.csv", "pin,board\n1,2\n0,3\n", "row 2 has pin 0", id="id of zero"),
        pytest.param("pairs.csv", "pin,board\n1,\n", "1 rows without board", id="no board"),
        pytest.param("pairs.csv", "pin,board\n", "no pairs", id="no rows"),
        pytest.param("pairs.csv", "pin,board,weight\n1,2,-1\n", "greater than 0", id="negative weight"),
        pytest.param("pairs.parquet", "no", "cannot be read", id="no Parquet"),
        pytest.param("pairs.npz", "no", "cannot be read", id="no npz"),
        pytest.param("pairs.txt", "1 2", "none of", id="another kind"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageFault, match=says):
        read_pairs(tmp_path / name)


def test_a_folder_without_a_graph_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="feedmesh pixie build"):
        read_pairs(tmp_path)
    damaged = tmp_path / "20260101T000000"
    damaged.mkdir()
    with pytest.raises(UsageFault, match="no graph that can be read"):
        read_pairs(tmp_path)
