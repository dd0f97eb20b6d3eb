"""A database is read while another process writes it, and neither notices the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from services.chassis.errors import StorageFault
from services.chassis.storage import Store, edge_family, small_family
from services.chassis.storage.reader import StoreReader

FAMILIES = {"pins": edge_family(2), "system": small_family()}
PINS = {"pins": FAMILIES["pins"]}

_WRITE = """
import sys
from pathlib import Path
from services.chassis.storage import Store, edge_family, small_family

def put(first, value):
    batch = store.batch()
    for number in range(first, first + 2000):
        batch.put("pins", number.to_bytes(8, "big"), value)
    store.write(batch)

store = Store(Path(sys.argv[1]), {"pins": edge_family(2), "system": small_family()})
put(0, b"in a file")
store.flush()
put(2000, b"in the write-ahead log")
print("written", flush=True)
sys.stdin.readline()
put(0, b"later")
put(4000, b"later")
store.compact("pins")
print("compacted", flush=True)
sys.stdin.readline()
store.close()
"""


@pytest.mark.parametrize("started", [True, False], ids=["scan in progress", "scan not begun"])
def test_reads_what_was_there_while_the_writer_rewrites_it(tmp_path: Path, started: bool) -> None:
    path = tmp_path / "store"
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    try:
        assert writer.stdout.readline() == "written\n"
        files = {file.name for file in path.iterdir()}
        with StoreReader(path, PINS) as reader:
            assert {file.name for file in path.iterdir()} == files
            scan = reader.scan("pins")
            rows = [next(scan)] if started else []
            writer.stdin.write("\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "compacted\n"
            assert {file for file in files if file.endswith(".sst")} - {file.name for file in path.iterdir()}
            rows += scan
        assert [int.from_bytes(key, "big") for key, _ in rows] == list(range(4000))
        assert {value for _, value in rows} == {b"in a file", b"in the write-ahead log"}
        writer.stdin.write("\n")
        writer.stdin.flush()
        assert writer.wait(timeout=30) == 0
    finally:
        writer.kill()
        writer.wait()
    with StoreReader(path, PINS) as reader:
        assert sum(1 for _ in reader.scan("pins")) == 6000


def test_checkpoint_is_read_without_a_file_of_ours(tmp_path: Path) -> None:
    with Store(tmp_path / "store", FAMILIES) as store:
        batch = store.batch()
        batch.put("pins", b"ab1", b"v")
        store.write(batch)
        store.checkpoint(tmp_path / "checkpoint")
    before = sorted(file.name for file in (tmp_path / "checkpoint").iterdir())
    with StoreReader(tmp_path / "checkpoint", PINS) as reader:
        assert list(reader.scan("pins")) == [(b"ab1", b"v")]
    assert sorted(file.name for file in (tmp_path / "checkpoint").iterdir()) == before


def test_store_of_another_service_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "store", {"counts": small_family()}).close()
    with pytest.raises(StorageFault, match=r"has no pins, only counts, default"):
        StoreReader(tmp_path / "store", PINS)


def test_folder_without_a_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(StorageFault, match="holds no database"):
        StoreReader(tmp_path, PINS)
    assert list(tmp_path.iterdir()) == []


def test_scan_after_close_is_a_fault(tmp_path: Path) -> None:
    with Store(tmp_path / "store", FAMILIES) as store:
        batch = store.batch()
        for number in range(1000):
            batch.put("pins", number.to_bytes(8, "big"), b"v")
        store.write(batch)
    reader = StoreReader(tmp_path / "store", PINS)
    scan = reader.scan("pins")
    next(scan)
    reader.close()
    reader.close()
    with pytest.raises(StorageFault, match="closed"):
        list(scan)
