"""What the storage chassis relies on in RocksDB and in its binding, tested on the binding alone.

A release that changes one of these fails here, with the name of what changed. Some tests hold a fault:
when one of those fails, the fault is mended, and the guard against it in `services/chassis/storage`
may go. They use the engine directly on purpose; nothing else does.
"""

import gc
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rocksdict import (
    Checkpoint,
    DbClosedError,
    MemtableFactory,
    Options,
    PlainTableFactoryOptions,
    Rdict,
    ReadOptions,
    SliceTransform,
    WriteBatch,
)


def options(*, prefix_bytes: int = 0, table: bool = False) -> Options:
    made = Options(raw_mode=True)
    made.create_if_missing(True)
    made.create_missing_column_families(True)
    made.set_allow_concurrent_memtable_write(False)
    made.set_allow_mmap_reads(True)
    if prefix_bytes:
        made.set_prefix_extractor(SliceTransform.create_fixed_prefix(prefix_bytes))
        made.set_memtable_prefix_bloom_ratio(0.1)
    if table:
        plain = PlainTableFactoryOptions()
        plain.user_key_length = 8
        made.set_plain_table_factory(plain)
        hash_list: Any = MemtableFactory.hash_link_list
        made.set_memtable_factory(hash_list(1_000))
    return made


def key(row: int) -> bytes:
    return row.to_bytes(8, "big")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Rdict]:
    opened = Rdict(str(tmp_path / "db"), options())
    for row in range(1_000):
        opened.put(key(row), b"v%d" % row)
    yield opened
    opened.close()


def test_an_upper_bound_holds_while_its_bytes_are_kept(db: Rdict) -> None:
    bound = key(20)
    read = ReadOptions()
    read.set_iterate_upper_bound(bound)
    rows = db.items(from_key=key(10), read_opt=read)
    litter = [key(2**40 + row) for row in range(10_000)]

    assert [k for k, _ in rows] == [key(row) for row in range(10, 20)]
    assert len(litter) == 10_000


def test_from_key_is_a_lower_bound_and_the_option_of_that_name_is_not(db: Rdict) -> None:
    assert next(db.items(from_key=key(10)))[0] == key(10)

    bound = key(10)
    read = ReadOptions()
    read.set_iterate_lower_bound(bound)
    rows = [k for k, _ in db.items(read_opt=read)]
    assert rows == [key(row) for row in range(10)]  # the fault: it sets the upper bound


def test_seeking_back_to_a_bound_starts_below_it(db: Rdict) -> None:
    bound = key(20)
    read = ReadOptions()
    read.set_total_order_seek(True)
    read.set_iterate_upper_bound(bound)
    rows = db.iter(read)
    rows.seek_for_prev(bound)

    assert rows.key() == key(19)


def test_iteration_does_not_see_later_writes(db: Rdict) -> None:
    rows = db.iter()
    rows.seek_to_first()
    for row in range(1_000):
        db.put(key(row), b"new")
    db.put(b"\xff", b"new")
    db.flush()

    seen = []
    while rows.valid():
        seen.append(rows.value())
        rows.next()
    assert len(seen) == 1_000
    assert b"new" not in seen


def test_plain_iteration_ends_quietly_at_damage_and_the_cursor_says_so(tmp_path: Path) -> None:
    path = tmp_path / "db"
    db = Rdict(str(path), options())
    for row in range(20_000):
        db.put(key(row), bytes(100))
    db.flush()
    db.close()
    file = max(path.glob("*.sst"), key=lambda one: one.stat().st_size)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = b"\xff" * 64
    file.write_bytes(data)

    db = Rdict(str(path), options())
    assert 0 < len(list(db.items())) < 20_000  # the fault: no error, only fewer rows
    rows = db.iter()
    rows.seek_to_first()
    while rows.valid():
        rows.next()
    with pytest.raises(Exception, match="Corruption"):
        rows.status()
    del rows
    db.close()


def test_values_of_many_keys_come_in_the_order_of_the_keys(db: Rdict) -> None:
    asked: list[Any] = [key(row) for row in (999, 5, 2_000, 5, 0)]

    assert db.get(asked) == [b"v999", b"v5", None, b"v5", b"v0"]


def test_total_order_scanning_across_prefixes_leaves_no_row_out(tmp_path: Path) -> None:
    db = Rdict(str(tmp_path / "db"), options(prefix_bytes=4))
    for row in range(1_000):
        db.put((row % 10).to_bytes(4, "big") + row.to_bytes(4, "big"), b"v")
        if row == 500:
            db.flush()
    read = ReadOptions()
    read.set_total_order_seek(True)

    # From a key whose prefix is not there: the prefix filter says so, and must not be asked.
    absent = (0).to_bytes(4, "big") + b"\xff" * 4
    assert len(list(db.items(from_key=absent, read_opt=read))) == 900
    read = ReadOptions()
    read.set_prefix_same_as_start(True)
    assert len(list(db.items(from_key=(3).to_bytes(4, "big"), read_opt=read))) == 100
    db.close()


def test_a_plain_table_in_total_order_can_be_read_from_its_start_only(tmp_path: Path) -> None:
    families = {"default": options(), "table": options(prefix_bytes=8, table=True)}
    db = Rdict(str(tmp_path / "db"), families["default"], column_families=families)
    table = db.get_column_family("table")
    for row in range(100):
        table.put(key(row), b"v")
    table.flush()
    read = ReadOptions()
    read.set_total_order_seek(True)

    rows = table.iter(read)
    rows.seek_to_first()
    count = 0
    while rows.valid():
        count += 1
        rows.next()
    rows.status()
    assert count == 100
    rows.seek(key(50))
    with pytest.raises(Exception, match="total_order_seek not implemented"):
        rows.status()
    del rows
    table.close()
    db.close()


def test_every_family_keeps_its_options_when_all_are_passed_again(tmp_path: Path) -> None:
    path = tmp_path / "db"
    for buffer_bytes in (1 << 20, 3 << 20):
        families = {"default": options(), "other": options()}
        for one in families.values():
            one.set_write_buffer_size(buffer_bytes)
        db = Rdict(str(path), families["default"], column_families=families)
        db.get_column_family("other").close()
        newest = max(path.glob("OPTIONS-*"), key=lambda file: int(file.name.split("-")[1]))
        assert newest.read_text().count(f"  write_buffer_size={buffer_bytes}\n") == 2
        db.close()


def test_a_written_batch_is_consumed(db: Rdict) -> None:
    batch = WriteBatch(raw_mode=True)
    batch.put(b"a", b"1")
    db.write(batch)

    with pytest.raises(Exception, match="already consumed"):
        db.write(batch)


def test_a_batch_is_atomic_over_families_and_ordered(tmp_path: Path) -> None:
    families = {"default": options(), "other": options()}
    db = Rdict(str(tmp_path / "db"), families["default"], column_families=families)
    other = db.get_column_family("other")
    handles = {name: db.get_column_family_handle(name) for name in families}
    batch = WriteBatch(raw_mode=True)
    batch.put(b"a", b"1", handles["default"])
    batch.put(b"a", b"2", handles["other"])
    batch.delete_range(b"a", b"b", handles["other"])
    batch.put(b"b", b"3", handles["other"])
    before = db.latest_sequence_number()
    db.write(batch)

    assert (db.get(b"a"), other.get(b"a"), other.get(b"b")) == (b"1", None, b"3")
    assert db.latest_sequence_number() == before + 4
    other.close()
    db.close()


def test_an_open_iterator_keeps_the_files_locked_after_close(tmp_path: Path) -> None:
    db = Rdict(str(tmp_path / "db"), options())
    db.put(b"a", b"1")
    rows = db.iter()
    db.close()

    with pytest.raises(Exception, match="lock hold by current process"):
        Rdict(str(tmp_path / "db"), options())
    del rows
    gc.collect()
    Rdict(str(tmp_path / "db"), options()).close()


def test_a_closed_handle_says_that_it_is_closed(tmp_path: Path) -> None:
    db = Rdict(str(tmp_path / "db"), options())
    db.close()

    with pytest.raises(DbClosedError):
        db.get(b"a")


def test_a_checkpoint_holds_unflushed_writes_and_opens_beside_its_origin(db: Rdict, tmp_path: Path) -> None:
    Checkpoint(db).create_checkpoint(str(tmp_path / "copy"))

    copy = Rdict(str(tmp_path / "copy"), options())
    assert copy.get(key(999)) == b"v999"
    copy.close()


def test_only_bytes_are_taken_in_raw_mode(db: Rdict) -> None:
    batch = WriteBatch(raw_mode=True)

    with pytest.raises((ValueError, TypeError, KeyError)):
        batch.put(b"a", "text")
    with pytest.raises((ValueError, TypeError, KeyError)):
        db.get("a")


WRITER = """
import pathlib, sys
from services.chassis.storage import Store, log_family, table_family
store = Store(pathlib.Path(sys.argv[1]), {"log": log_family(), "counts": table_family(8)})
row = int(sys.argv[2])
while True:
    batch = store.batch()
    for _ in range(10):
        batch.put("log", row.to_bytes(8, "big"), bytes(200))
        batch.put("counts", row.to_bytes(8, "big"), b"v")
        row += 1
    store.write(batch)
    print(row, flush=True)
"""


@pytest.mark.mesh
def test_kill_9_loses_no_acknowledged_write_and_splits_no_batch(tmp_path: Path) -> None:
    from services.chassis.storage import Store, log_family, table_family

    path = tmp_path / "store"
    written = 0
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(path), str(written)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        seen = written
        for line in writer.stdout:
            seen = int(line)
            if seen >= written + 3_000:
                break
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout:  # what was acknowledged before the signal arrived
            seen = int(line) if line.endswith("\n") else seen
        writer.wait()
        writer.stdout.close()

        with Store(path, {"log": log_family(), "counts": table_family(8)}) as store:
            rows = [int.from_bytes(k, "big") for k, _ in store.scan("log")]
            assert rows == list(range(len(rows)))
            assert len(rows) >= seen >= written + 3_000
            assert len(rows) % 10 == 0
            written = len(rows)
            assert [k for k, _ in store.scan("counts")] == [row.to_bytes(8, "big") for row in rows]
