"""Files of edges: what is read, and what is said of those that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.ids import string_id
from services.cli.load.ids import Names
from services.pixie.building import edge_files
from services.pixie.building.edge_files import EdgeFile, attributes_of
from services.pixie.building.id_columns import ids_of
from services.pixie.building.source import BadSource

PAIRS = [(1, 20), (2, 20), (2**64 - 1, 21)]


def _csv(path: Path) -> None:
    path.write_text("pin,board\n" + "".join(f"{pin},{board}\n" for pin, board in PAIRS))


def _headless(path: Path) -> None:
    path.write_text("".join(f"{pin},{board}\n" for pin, board in PAIRS))


def _other_columns(path: Path) -> None:
    path.write_text("\ufeffwhen,board,pin\n" + "".join(f"x,{board},{pin}\n" for pin, board in PAIRS))


def _parquet(path: Path) -> None:
    pins, boards = zip(*PAIRS, strict=True)
    table = {"pin": np.array(pins, np.uint64), "board": [str(board) for board in boards], "other": [1.0] * 3}
    pyarrow.parquet.write_table(pyarrow.table(table), path)


def _npz(path: Path) -> None:
    pins, boards = zip(*PAIRS, strict=True)
    np.savez(path, pins=np.array(pins, np.uint64), boards=np.array(boards, np.int32))


def _npz_of_one(path: Path) -> None:
    np.savez(path, np.array(PAIRS, np.uint64))


def _npy(path: Path) -> None:
    np.save(path, np.array(PAIRS, np.uint64))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        pytest.param("edges.csv", _csv, id="csv"),
        pytest.param("edges.csv", _headless, id="csv without header"),
        pytest.param("edges.csv", _other_columns, id="csv with other columns"),
        pytest.param("edges.parquet", _parquet, id="parquet"),
        pytest.param("edges.npz", _npz, id="npz"),
        pytest.param("edges.npz", _npz_of_one, id="npz of one array"),
        pytest.param("edges.npy", _npy, id="npy"),
    ],
)
def test_every_kind_of_file_tells_of_the_same_edges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, write: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(edge_files, "_BATCH_ROWS", 2)
    write(tmp_path / name)
    assert _read(tmp_path / name) == PAIRS


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.integers(1, 2**64 - 1).map(str),
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
                lambda text: not text.isdecimal() or 0 < int(text) < 2**64
            ),
            st.sampled_from(["0x1F", "007", "-1", "+1", " 1", "1.0", "1e3", "٣"]),
        ),
        min_size=1,
    )
)
def test_names_have_the_ids_that_load_gives_them(written: list[str]) -> None:
    expected = [Names().id_of("pin", name, column="pin") for name in written]
    assert ids_of(pyarrow.array(written), where="f", name="pin", first_row=1).tolist() == expected


def test_names_are_hashed(tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text("pin,board\np-1,b-1\n7,b-2\n")
    assert _read(tmp_path / "edges.csv") == [
        (string_id("p-1"), string_id("b-1")),
        (7, string_id("b-2")),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("pin,user\n1,2\n", r"no column board \(line 1: pin,user\)", id="column is missing"),
        pytest.param(
            "pin_id,board_id\n1,2\n", "looks like a header, and names no pin and no board", id="other header"
        ),
        pytest.param("pin,board,pin\n1,2,3\n", "twice", id="column twice"),
        pytest.param("1,2,3\n", "line 1 has 3 columns", id="three columns, no header"),
        pytest.param("pin,board\n1,2\n0,2\n", "row 2: pin is 0", id="id 0"),
        pytest.param("pin,board\n1,2\n3,\n", "row 2: board is missing", id="empty id"),
        pytest.param(f"pin,board\n1,2\n{2**64},2\n", f"row 2: pin is {2**64}", id="id too large"),
        pytest.param("pin,board\n1,2\n3\n", "line 3 has 1 of 2 columns", id="short row"),
        pytest.param("", "cannot be read as edges", id="empty file"),
    ],
)
def test_fault_of_a_csv_says_where_it_is(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "edges.csv").write_text(text)
    with pytest.raises(BadSource, match=said) as fault:
        _read(tmp_path / "edges.csv")
    assert "edges.csv" in str(fault.value)


@pytest.mark.parametrize(
    ("name", "arrays", "said"),
    [
        pytest.param("a.npz", {"pin": [1.5], "board": [1.0]}, "type double", id="floats"),
        pytest.param("a.npz", {"pin": [-1], "board": [1]}, "negative", id="negative ids"),
        pytest.param("a.npz", {"pin": [1, 2], "board": [1]}, "are no edges", id="of unequal length"),
        pytest.param("a.npz", {"x": [1], "y": [1]}, "pin and board", id="other names"),
        pytest.param("a.npz", {"x": [[1, 2, 3]]}, r"\(edge, 2\)", id="three columns"),
    ],
)
def test_arrays_that_are_no_edges_are_refused(
    tmp_path: Path, name: str, arrays: dict[str, list[float]], said: str
) -> None:
    np.savez(tmp_path / name, **{key: np.array(values) for key, values in arrays.items()})  # type: ignore[arg-type]
    with pytest.raises(BadSource, match=said):
        _read(tmp_path / name)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz", ".npy"])
def test_damaged_file_is_the_callers_fault(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"edges{suffix}"
    path.write_bytes(b"pin,board\n\xff\xfe,1\n\x00" if suffix == ".csv" else b"nothing of the kind")
    with pytest.raises(BadSource, match="cannot be read as edges"):
        _read(path)


@pytest.mark.parametrize("name", ["absent.csv", "edges.txt"])
def test_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "edges.txt").write_text("1,2\n")
    with pytest.raises(BadSource, match=name):
        EdgeFile(tmp_path / name)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_attributes_are_languages_and_interests(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"attributes.{kind}"
    if kind == "csv":
        path.write_text("interests,pin,language\nplants; boats;,1,en\n,p-2,\n")
    else:
        table = {"pin": ["1", "p-2"], "language": ["en", None], "interests": [["plants", "boats"], None]}
        pyarrow.parquet.write_table(pyarrow.table(table), path)
    (chunk,) = attributes_of(path)
    assert chunk.pins.tolist() == [1, string_id("p-2")]
    assert list(chunk.languages) == ["en", ""]
    assert [list(names) for names in chunk.interests] == [["plants", "boats"], []]


def test_attributes_without_any_are_refused(tmp_path: Path) -> None:
    (tmp_path / "attributes.csv").write_text("pin,lang\n1,en\n")
    with pytest.raises(BadSource, match="neither language nor interests"):
        list(attributes_of(tmp_path / "attributes.csv"))


def _read(path: Path) -> list[tuple[int, int]]:
    file = EdgeFile(path)
    count = file.edge_count
    edges = [
        edge
        for chunk in file.edges()
        for edge in zip(chunk.pins.tolist(), chunk.boards.tolist(), strict=True)
    ]
    assert count in (None, len(edges))
    return edges
