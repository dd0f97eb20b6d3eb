"""Claims about files of feature rows: three forms, one meaning, and faults that name what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from services.cli.faults import UsageFault
from services.cli.rockstore.row_files import BATCH_ROWS, RowFile
from services.rockstore.schema import Kind, Schema

SCHEMA = Schema(Kind.PIN, 1, ("a", "b"), (0.0, 0.0), ("x",))
COLUMNS: Mapping[str, Any] = {
    "b": pa.array([1.5, None, 3.5], pa.float32()),
    "id": pa.array([7, 2**64 - 1, 9], pa.uint64()),
    "x": pa.array([70, 80, 90], pa.uint64()),
    "a": pa.array([1.0, 2.0, 3.0], pa.float64()),
}


def parquet(path: Path, columns: Mapping[str, Any]) -> None:
    pa.parquet.write_table(pa.table(dict(columns)), path)


def csv(path: Path, columns: Mapping[str, Any]) -> None:
    pa.csv.write_csv(pa.table(dict(columns)), path)


def npz(path: Path, columns: Mapping[str, Any]) -> None:
    features = [columns[name].to_numpy(zero_copy_only=False) for name in ("a", "b")]
    np.savez(
        path,
        ids=columns["id"].to_numpy(),
        features=np.stack(features, axis=1).astype(np.float32),
        id_columns=columns["x"].to_numpy()[:, None],
    )


@pytest.mark.parametrize(("suffix", "write"), [(".parquet", parquet), (".csv", csv), (".npz", npz)])
def test_rows_are_read_by_name_whatever_the_form(
    tmp_path: Path, suffix: str, write: Callable[[Path, Mapping[str, Any]], None]
) -> None:
    path = tmp_path / f"rows{suffix}"
    write(path, COLUMNS)
    file = RowFile(path, SCHEMA)
    (batch,) = file.batches()
    assert batch.objects.tolist() == [7, 2**64 - 1, 9]
    np.testing.assert_array_equal(batch.features, np.array([[1, 1.5], [2, np.nan], [3, 3.5]], np.float32))
    assert batch.ids.tolist() == [[70], [80], [90]]
    assert [column.dtype.str for column in (batch.objects, batch.features, batch.ids)] == [
        "<u8",
        "<f4",
        "<u8",
    ]
    assert file.row_count == (3 if suffix == ".parquet" else None)


def test_a_long_file_comes_in_batches(tmp_path: Path) -> None:
    count = BATCH_ROWS * 2 + 1
    ids = np.arange(1, count + 1, dtype=np.uint64)
    parquet(tmp_path / "rows.parquet", {"id": ids, "a": np.ones(count), "b": np.ones(count), "x": ids})
    batches = list(RowFile(tmp_path / "rows.parquet", SCHEMA).batches())
    assert max(len(batch.objects) for batch in batches) <= BATCH_ROWS
    assert np.concatenate([batch.objects for batch in batches]).tolist() == ids.tolist()


def test_a_value_too_large_for_float32_becomes_infinite_to_be_refused(tmp_path: Path) -> None:
    parquet(tmp_path / "rows.parquet", {**COLUMNS, "a": pa.array([1e39, 1.0, 1.0])})
    (batch,) = RowFile(tmp_path / "rows.parquet", SCHEMA).batches()
    assert np.isinf(batch.features[0, 0])


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        pytest.param({**COLUMNS, "c": COLUMNS["a"]}, "has c, which", id="a column too many"),
        pytest.param({k: v for k, v in COLUMNS.items() if k != "b"}, "lacks b", id="a column is missing"),
        pytest.param({k: v for k, v in COLUMNS.items() if k != "id"}, "lacks id", id="no id"),
        pytest.param({**COLUMNS, "id": pa.array([1, None, 3])}, "id has rows without", id="a missing id"),
        pytest.param({**COLUMNS, "x": pa.array([1, -1, 3])}, "cannot be read", id="a negative id"),
        pytest.param({**COLUMNS, "id": pa.array([1.0, 2.0, 3.0])}, "ids are integers", id="ids as floats"),
        pytest.param({**COLUMNS, "a": pa.array(["1", "x", "3"])}, "cannot be read", id="text for a feature"),
    ],
)
def test_columns_that_do_not_fit_are_faults(tmp_path: Path, columns: Mapping[str, Any], says: str) -> None:
    parquet(tmp_path / "rows.parquet", columns)
    with pytest.raises(UsageFault, match=says):
        list(RowFile(tmp_path / "rows.parquet", SCHEMA).batches())


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        pytest.param({"ids": np.ones(1, np.uint64)}, "has the arrays", id="arrays are missing"),
        pytest.param(
            {"ids": np.ones(1, np.uint64), "features": np.ones((1, 3), np.float32)},
            "has shapes|arrays",
            id="wide",
        ),
        pytest.param({"ids": np.ones(1), "features": np.ones((1, 2))}, "uint64|arrays", id="float ids"),
    ],
)
def test_arrays_that_do_not_fit_are_faults(tmp_path: Path, arrays: dict[str, Any], says: str) -> None:
    schema = Schema(Kind.PIN, 1, ("a", "b"), (0.0, 0.0))
    np.savez(tmp_path / "rows.npz", **arrays)
    with pytest.raises(UsageFault, match=says):
        list(RowFile(tmp_path / "rows.npz", schema).batches())


def test_what_is_no_file_of_rows_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("x")
    for name in ("rows.txt", "none.parquet"):
        with pytest.raises(UsageFault):
            RowFile(tmp_path / name, SCHEMA)
    (tmp_path / "bad.parquet").write_text("no parquet")
    with pytest.raises(UsageFault, match="cannot be read"):
        list(RowFile(tmp_path / "bad.parquet", SCHEMA).batches())
