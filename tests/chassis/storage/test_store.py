import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.chassis.errors import CorruptValue, DiskFull, LimitExceeded, StorageFault
from services.chassis.storage import Store, StoreLimits, log_family, object_family, small_family, table_family

FAMILIES = {"objects": object_family(), "counts": table_family(8), "system": small_family()}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", FAMILIES) as opened:
        yield opened


def put(store: Store, family: str, key: bytes, value: bytes = b"v") -> None:
    batch = store.batch()
    batch.put(family, key, value)
    store.write(batch)


def test_a_written_value_is_read_and_a_missing_one_is_none(store: Store) -> None:
    put(store, "objects", b"a", b"1")

    assert store.get("objects", b"a") == b"1"
    assert store.get("objects", b"b") is None
    assert store.get("system", b"a") is None


def test_values_come_back_in_the_order_of_the_keys(store: Store) -> None:
    for name in (b"a", b"b", b"c"):
        put(store, "objects", name, name * 2)

    assert store.multi_get("objects", [b"c", b"x", b"a", b"c"]) == [b"cc", None, b"aa", b"cc"]
    assert store.multi_get("objects", []) == []


def test_an_empty_value_is_a_value(store: Store) -> None:
    put(store, "objects", b"a", b"")

    assert store.get("objects", b"a") == b""
    assert store.multi_get("objects", [b"a"]) == [b""]


def test_a_batch_changes_all_families_at_once(store: Store) -> None:
    put(store, "system", b"old")
    batch = store.batch()
    batch.put("objects", b"a", b"1")
    batch.put("counts", bytes(8), b"2")
    batch.put("default", b"d", b"3")
    batch.delete("system", b"old")

    store.write(batch, sync=True)

    assert store.get("objects", b"a") == b"1"
    assert store.get("counts", bytes(8)) == b"2"
    assert store.get("default", b"d") == b"3"
    assert store.get("system", b"old") is None


def test_a_batch_that_cannot_be_written_whole_is_not_written_at_all(store: Store) -> None:
    batch = store.batch()
    batch.put("objects", b"a", b"1")
    batch.put("objects", b"b", "text")  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="bytes"):
        store.write(batch)

    assert store.get("objects", b"a") is None
    put(store, "objects", b"c")  # and the store still takes writes
    assert store.get("objects", b"c") == b"v"


def test_one_batch_can_be_written_again(store: Store) -> None:
    batch = store.batch()
    batch.put("objects", b"a", b"1")

    store.write(batch)
    put(store, "objects", b"a", b"2")
    store.write(batch)

    assert store.get("objects", b"a") == b"1"


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(StoreLimits(batch_entries_max=2), id="entries"),
        pytest.param(StoreLimits(batch_bytes_max=8), id="bytes"),
    ],
)
def test_a_batch_over_its_limit_is_refused_whole(tmp_path: Path, limits: StoreLimits) -> None:
    with Store(tmp_path / "store", FAMILIES, limits=limits) as store:
        batch = store.batch()
        for key in (b"aa", b"bb", b"cc"):
            batch.put("objects", key, b"v")
        with pytest.raises(LimitExceeded, match="limit of"):
            store.write(batch)
        assert list(store.scan("objects")) == []


def test_an_undeclared_family_is_a_key_error(store: Store) -> None:
    for call in (
        lambda: store.get("nope", b"a"),
        lambda: store.multi_get("nope", [b"a"]),
        lambda: store.scan("nope"),
        lambda: store.batch().put("nope", b"a", b"b"),
    ):
        with pytest.raises(KeyError, match="nope"):
            call()


def test_a_second_open_in_one_process_says_so(store: Store) -> None:
    with pytest.raises(StorageFault, match="already open in this process"):
        Store(store.path, FAMILIES)


@pytest.mark.mesh
def test_a_second_open_in_another_process_says_so(store: Store) -> None:
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, pathlib\n"
            "from services.chassis.storage import *\n"
            "families = {'objects': object_family(), 'counts': table_family(8), 'system': small_family()}\n"
            "Store(pathlib.Path(sys.argv[1]), families)",
            str(store.path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 1
    assert "already open by another process" in child.stderr


def test_families_on_disk_that_are_not_declared_are_refused_by_name(tmp_path: Path) -> None:
    Store(tmp_path / "store", FAMILIES).close()

    with pytest.raises(StorageFault, match="does not declare: counts, objects"):
        Store(tmp_path / "store", {"system": small_family()})
    Store(tmp_path / "store", FAMILIES).close()  # the refusal left no lock behind


def test_a_new_family_may_be_added_to_a_store(tmp_path: Path) -> None:
    with Store(tmp_path / "store", {"system": small_family()}) as store:
        put(store, "system", b"a", b"1")

    with Store(tmp_path / "store", FAMILIES) as store:
        put(store, "objects", b"b", b"2")
        assert store.get("system", b"a") == b"1"
        assert store.get("objects", b"b") == b"2"


def test_everything_is_there_after_closing_and_opening_again(tmp_path: Path) -> None:
    with Store(tmp_path / "store", FAMILIES) as store:
        for row in range(100):
            put(store, "counts", row.to_bytes(8, "big"), str(row).encode())
            put(store, "objects", row.to_bytes(8, "big"), bytes(5_000))

    with Store(tmp_path / "store", FAMILIES) as store:
        assert store.get("counts", (42).to_bytes(8, "big")) == b"42"
        assert len(list(store.scan("objects"))) == 100


def test_a_closed_store_refuses_everything(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", FAMILIES)
    batch = store.batch()
    store.close()
    store.close()

    for call in (
        lambda: store.get("objects", b"a"),
        lambda: store.multi_get("objects", [b"a"]),
        lambda: list(store.scan("objects")),
        lambda: list(store.scan_back("objects")),
        lambda: store.write(batch),
        store.sync,
        store.stats,
        store.reopen,
        lambda: store.checkpoint(tmp_path / "copy"),
    ):
        with pytest.raises(StorageFault, match="closed"):
            call()


def test_readers_in_other_threads_survive_a_reopening(store: Store) -> None:
    keys = [row.to_bytes(8, "big") for row in range(500)]
    batch = store.batch()
    for key in keys:
        batch.put("objects", key, key)
    store.write(batch)
    stop = threading.Event()
    failures: list[BaseException] = []
    rounds = [0, 0]

    def read(reader: int) -> None:
        try:
            while not stop.is_set():
                assert store.multi_get("objects", keys) == keys
                assert store.get("objects", keys[7]) == keys[7]
                rounds[reader] += 1
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=read, args=(reader,)) for reader in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        store.reopen()
    stop.set()
    for thread in threads:
        thread.join()

    assert failures == []
    assert min(rounds) > 0


def test_a_checkpoint_opens_as_a_store_and_stays_as_it_was(store: Store, tmp_path: Path) -> None:
    put(store, "objects", b"a", b"before")
    put(store, "counts", bytes(8), b"1")
    store.checkpoint(tmp_path / "copy")
    put(store, "objects", b"a", b"after")

    with Store(tmp_path / "copy", FAMILIES) as copy:
        assert copy.get("objects", b"a") == b"before"
        assert copy.get("counts", bytes(8)) == b"1"
    assert store.get("objects", b"a") == b"after"


def test_a_checkpoint_does_not_replace_what_exists(store: Store, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()

    with pytest.raises(StorageFault, match="exists already"):
        store.checkpoint(tmp_path / "copy")


def test_stats_count_what_is_stored(store: Store) -> None:
    for row in range(50):
        put(store, "objects", row.to_bytes(8, "big"), bytes(8_000))
    scan = store.scan("objects")
    next(scan)
    store.compact("objects")

    stats = store.stats()

    assert stats["keys_estimated"] == 50
    assert stats["blob_bytes"] > 0
    assert stats["live_scans"] == 1
    assert stats["write_stopped"] == stats["background_errors"] == 0
    assert store.family_stats()["objects"]["keys_estimated"] == 50
    assert store.family_stats()["counts"]["keys_estimated"] == 0


class FullDisk:
    """Stands before a real engine handle: every write meets a full disk, as RocksDB reports it."""

    def __init__(self, engine: object) -> None:
        self._engine = engine

    def write(self, native: object) -> None:
        raise Exception("IO error: No space left on device: While appending to file: x.log")  # noqa: TRY002

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)


def test_a_write_that_failed_succeeds_with_the_same_batch_later(store: Store) -> None:
    put(store, "objects", b"a", b"1")
    batch = store.batch()
    batch.put("objects", b"b", b"2")
    store._rdicts["default"] = FullDisk(store._rdicts["default"])

    with pytest.raises(DiskFull, match="free space"):
        store.write(batch)
    assert store.get("objects", b"a") == b"1"
    store.write(batch, sync=True)

    assert store.get("objects", b"b") == b"2"


def test_without_room_to_recover_a_store_stays_open_for_reads(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "objects", b"a", b"1")
    batch = store.batch()
    batch.put("objects", b"b", b"2")
    store._rdicts["default"] = FullDisk(store._rdicts["default"])
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 4096})())

    for _ in range(2):
        with pytest.raises(DiskFull):
            store.write(batch)

    assert store.get("objects", b"a") == b"1"
    assert [key for key, _ in store.scan("objects")] == [b"a"]


def test_a_corrupt_file_is_data_loss_and_not_a_short_answer(tmp_path: Path) -> None:
    families = {"log": log_family()}
    keys = [row.to_bytes(8, "big") for row in range(20_000)]
    with Store(tmp_path / "store", families) as store:
        batch = store.batch()
        for key in keys:
            batch.put("log", key, bytes(100))
        store.write(batch)
        store.flush()
    damage_the_middle(max((tmp_path / "store").glob("*.sst"), key=lambda file: file.stat().st_size))

    with Store(tmp_path / "store", families) as store:
        for read in (
            lambda: list(store.scan("log")),
            lambda: list(store.scan_back("log")),
            lambda: store.multi_get("log", keys),
        ):
            with pytest.raises(CorruptValue, match="restore a checkpoint"):
                read()


def damage_the_middle(file: Path) -> None:
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = b"\xff" * 64
    file.write_bytes(data)
