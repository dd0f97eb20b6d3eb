"""The files of the feature log: what is written is read, whole files only, by time and by feature list."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.errors import CorruptValue
from services.scorpion.feature_log_files import (
    file_sizes,
    read_feature_log,
    remove_unfinished,
    write_rows,
)
from tests.scorpion.logged import NAMES, assert_same, logged, same_arms


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = logged(50)
    rows.light_scores[3] = np.nan
    size_bytes = write_rows(tmp_path / "1.parquet", [rows])
    assert size_bytes == (tmp_path / "1.parquet").stat().st_size
    (read,) = read_feature_log(tmp_path)
    assert_same(read, rows)
    assert read.features.flags.c_contiguous
    assert read.features.flags.writeable


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 120))
def test_parts_of_a_file_and_files_of_a_log_are_joined_and_the_newest_are_kept(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], rows_max: int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    starts = np.cumsum([0, *counts]).tolist()
    pages = [logged(count, first_pin=start + 1) for start, count in zip(starts, counts, strict=False)]
    half = len(pages) // 2
    for name, parts in (("1", pages[:half]), ("2", pages[half:])):
        if parts:
            write_rows(directory / f"{name}.parquet", parts)
    (read,) = read_feature_log(directory, rows_max=rows_max)
    total = sum(counts)
    assert read.pins.tolist() == list(range(max(0, total - rows_max) + 1, total + 1))
    written = np.concatenate([page.features for page in pages])
    np.testing.assert_array_equal(read.features, written[-len(read) :])


@pytest.mark.parametrize(
    ("from_ms", "until_ms", "pins"),
    [(0, 2**62, [1, 2, 11, 12]), (1_000, 2_000, [1, 2]), (1_001, 2_001, [11, 12]), (2_001, 3_000, [])],
    ids=["all", "until is outside", "from is inside", "none"],
)
def test_rows_of_a_time_are_read(tmp_path: Path, from_ms: int, until_ms: int, pins: list[int]) -> None:
    pages = [logged(2, served_ms=1_000), logged(2, first_pin=11, served_ms=2_000)]
    write_rows(tmp_path / "1.parquet", pages)
    read = read_feature_log(tmp_path, from_ms=from_ms, until_ms=until_ms)
    assert [pin for rows in read for pin in rows.pins.tolist()] == pins


def test_arms_are_a_column_of_lists_that_other_readers_understand(tmp_path: Path) -> None:
    none = replace(logged(1, first_pin=9), arms=same_arms(1, ()))
    write_rows(tmp_path / "1.parquet", [logged(2), none])
    table = pq.read_table(tmp_path / "1.parquet", columns=["arms"])
    assert table.schema.field("arms").type == pa.list_(pa.string())
    assert table.column("arms").to_pylist() == [["feed=treated", "walk=1"]] * 2 + [[]]


def test_a_file_that_was_written_before_there_were_arms_has_none(tmp_path: Path) -> None:
    write_rows(tmp_path / "1.parquet", [logged(3)])
    pq.write_table(pq.read_table(tmp_path / "1.parquet").drop_columns(["arms"]), tmp_path / "1.parquet")
    write_rows(tmp_path / "2.parquet", [logged(1, first_pin=4)])
    (read,) = read_feature_log(tmp_path)
    assert read.arms.tolist() == [(), (), (), ("feed=treated", "walk=4")]
    assert read.pins.tolist() == [1, 2, 3, 4]


def test_rows_of_different_feature_lists_are_never_mixed(tmp_path: Path) -> None:
    write_rows(tmp_path / "1.parquet", [logged(2)])
    write_rows(tmp_path / "2.parquet", [logged(3, names=("quality",))])
    write_rows(tmp_path / "3.parquet", [logged(4, first_pin=9)])
    groups = {rows.names: rows for rows in read_feature_log(tmp_path)}
    assert groups[NAMES].pins.tolist() == [1, 2, 9, 10, 11, 12]
    assert groups[("quality",)].features.shape == (3, 1)
    assert groups[("quality",)].digests == {"quality": "quality-digest"}


def test_a_feature_that_means_something_else_is_another_list(tmp_path: Path) -> None:
    write_rows(tmp_path / "1.parquet", [logged(2)])
    changed = logged(2)
    changed.digests["saves"] = "another"  # type: ignore[index]
    write_rows(tmp_path / "2.parquet", [changed])
    assert len(read_feature_log(tmp_path)) == 2


def test_a_file_that_is_being_written_is_no_part_of_the_log(tmp_path: Path) -> None:
    write_rows(tmp_path / "1.parquet", [logged(2)])
    whole = (tmp_path / "1.parquet").read_bytes()
    (tmp_path / ".2.parquet").write_bytes(whole[: len(whole) // 2])
    (read,) = read_feature_log(tmp_path)
    assert len(read) == 2
    assert file_sizes(tmp_path) == {tmp_path / "1.parquet": len(whole)}


def test_what_a_killed_process_left_is_removed_and_what_another_is_writing_is_not(tmp_path: Path) -> None:
    write_rows(tmp_path / "1.parquet", [logged(2)])
    for name, written_s in ((".left.parquet", 1_000), (".now.parquet", 1_700)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (written_s, written_s))
    remove_unfinished(tmp_path, now_ms=1_701_000)
    assert {path.name for path in tmp_path.iterdir()} == {"1.parquet", ".now.parquet"}
    remove_unfinished(tmp_path / "absent", now_ms=1_701_000)


def test_a_write_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "1.parquet", [logged(2)])

    def half(table: object, file: object, **_: object) -> None:
        file.write(b"PAR1")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", half)
    with pytest.raises(OSError, match="No space"):
        write_rows(tmp_path / "1.parquet", [logged(9)])
    (read,) = read_feature_log(tmp_path)
    assert len(read) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["1.parquet"]


def test_a_log_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    assert read_feature_log(tmp_path / "absent") == []
    assert read_feature_log(tmp_path) == []


@pytest.mark.parametrize("damage", ["cut off", "no Parquet", "another's file", "later format"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "1.parquet"
    write_rows(path, [logged(20)])
    whole = path.read_bytes()
    table = pq.read_table(path)
    if damage == "cut off":
        path.write_bytes(whole[:-40])
    elif damage == "no Parquet":
        path.write_bytes(b"not at all")
    elif damage == "another's file":
        pq.write_table(table.replace_schema_metadata({}), path)
    else:
        later = table.schema.metadata[b"feedmesh.feature_log"].replace(b'"format": 1', b'"format": 99')
        pq.write_table(table.replace_schema_metadata({b"feedmesh.feature_log": later}), path)
    with pytest.raises(CorruptValue, match=r"1\.parquet"):
        read_feature_log(tmp_path)
