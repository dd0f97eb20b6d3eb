"""Claims about prepared loads: what is in the files, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.errors import CorruptValue
from services.chassis.ids import shard_of
from services.chassis.storage import Store
from services.rockstore.loads.generations import LOADED, LOADED_FAMILIES
from services.rockstore.loads.prepared import MANIFEST, BadLoad, LoadManifest, copy_checked
from services.rockstore.loads.preparing import RowBatch, prepare
from services.rockstore.schema import Schema
from services.rockstore.store import cell_keys, row_cells
from tests.rockstore.loads.made import LOADED_VERSION, SCHEMA, batches, prepared, spec


@settings(max_examples=20, deadline=None)
@given(
    ids=st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=30, unique=True),
    num_shards=st.sampled_from([1, 8, 200]),
)
def test_every_row_is_in_the_file_of_its_shard(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int], num_shards: int
) -> None:
    folder = tmp_path_factory.mktemp("load") / "prepared"
    manifest = prepared(folder, {id: float(id % 97) for id in ids}, spec(num_shards=num_shards))
    assert manifest == LoadManifest.read(folder)
    assert manifest.row_count == len(ids)
    for file in manifest.files:
        with Store(folder / "db", LOADED_FAMILIES) as store:
            store.ingest(LOADED, [folder / file.name])
            found = dict(store.scan(LOADED))
        inside = [
            id for id in ids if file.first_shard <= shard_of(id, num_shards=num_shards) <= file.last_shard
        ]
        array = np.array(inside, np.uint64)
        shards = np.array([shard_of(id, num_shards=num_shards) for id in inside], np.uint32)
        values = row_cells(
            np.array([[id % 97] for id in inside], np.float32),
            array[:, None],
            schema_version=1,
            version=LOADED_VERSION,
            gone_ms=0,
        )
        expected = dict(zip(cell_keys(1, array, shards), values, strict=True))
        assert {key: value for key, value in found.items() if key in expected} == expected
        assert file.row_count == len(inside)


def test_nothing_but_the_files_and_the_manifest_is_left(tmp_path: Path) -> None:
    manifest = prepared(tmp_path / "load", dict.fromkeys(range(1, 50), 1.0))
    names = {path.name for path in (tmp_path / "load").iterdir()}
    assert names == {MANIFEST, *(file.name for file in manifest.files)}


def test_progress_hears_of_every_row_twice(tmp_path: Path) -> None:
    spilled: list[int] = []
    written: list[int] = []
    values = dict.fromkeys(range(1, 21), 1.0)
    prepare(batches(values), tmp_path / "load", spec(), spilled=spilled.append, written=written.append)
    assert (sum(spilled), sum(written)) == (20, 20)


def test_nan_is_a_missing_value(tmp_path: Path) -> None:
    assert prepared(tmp_path / "load", {1: float("nan")}).row_count == 1


@pytest.mark.parametrize(
    ("values", "says"),
    [
        pytest.param({1: 1.0, 0: 2.0}, "row 2 has the id 0", id="id 0"),
        pytest.param(
            {1: 1.0, 2: 2.0, 3: 3.0, 4: float("-inf")}, "row 4 .id 4. has an infinite feature", id="infinite"
        ),
        pytest.param({}, "no rows", id="no rows"),
    ],
)
def test_rows_that_no_load_can_hold_are_refused(tmp_path: Path, values: dict[int, float], says: str) -> None:
    with pytest.raises(BadLoad, match=says):
        prepared(tmp_path / "load", values)
    with pytest.raises(BadLoad):
        LoadManifest.read(tmp_path / "load")


def test_an_id_that_comes_twice_is_refused_also_from_two_batches(tmp_path: Path) -> None:
    twice = [*batches({5: 1.0, 6: 1.0, 7: 1.0, 8: 1.0}), *batches({6: 2.0})]
    with pytest.raises(BadLoad, match="1 ids come more than once: 6"):
        prepare(twice, tmp_path / "load", spec())


def test_a_schema_without_floats_or_without_ids_can_be_loaded(tmp_path: Path) -> None:
    schema = Schema(SCHEMA.kind, 1, (), (), ("x",))
    batch = RowBatch(np.ones(1, np.uint64), np.empty((1, 0), np.float32), np.full((1, 1), 7, np.uint64))
    assert prepare([batch], tmp_path / "ids", spec(schema=schema)).row_count == 1
    schema = Schema(SCHEMA.kind, 1, ("a",), (0.0,))
    batch = RowBatch(np.ones(1, np.uint64), np.ones((1, 1), np.float32), np.empty((1, 0), np.uint64))
    assert prepare([batch], tmp_path / "floats", spec(schema=schema)).row_count == 1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="no JSON"),
        pytest.param("[]", id="no object"),
        pytest.param('{"format": 2}', id="a later format"),
        pytest.param('{"format": 1, "files": []}', id="fields are missing"),
    ],
)
def test_a_folder_without_a_manifest_that_is_understood_is_no_load(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(BadLoad):
        LoadManifest.read(tmp_path)


@pytest.mark.parametrize("name", ["../rows-000.sst", "/etc/passwd", "..", ""])
def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path, name: str) -> None:
    manifest = prepared(tmp_path / "load", {1: 1.0})
    path = tmp_path / "load" / MANIFEST
    path.write_text(path.read_text().replace(manifest.files[0].name, name))
    with pytest.raises(BadLoad, match="no file of its folder"):
        LoadManifest.read(tmp_path / "load")


def test_a_damaged_file_is_found_while_it_is_copied(tmp_path: Path) -> None:
    file = prepared(tmp_path / "load", {1: 1.0}).files[0]
    path = tmp_path / "load" / file.name
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CorruptValue, match="prepare the load again"):
        list(copy_checked(path, tmp_path / "copy", file))
