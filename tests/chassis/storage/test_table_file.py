"""Claims about table files: made outside a store, taken over whole."""

from pathlib import Path

import pytest

from services.chassis.errors import CorruptValue, StorageFault
from services.chassis.storage import Store, TableFile, loaded_family

FAMILIES = {"rows": loaded_family()}


def made(path: Path, keys: range) -> Path:
    table = TableFile(path, loaded_family())
    names = [b"%04d" % key for key in keys]
    table.extend(names, [name * 2 for name in names])
    table.finish()
    return path


def test_files_are_taken_over_and_stay_over_a_restart(tmp_path: Path) -> None:
    files = [made(tmp_path / "a.sst", range(100)), made(tmp_path / "b.sst", range(100, 150))]
    with Store(tmp_path / "store", FAMILIES) as store:
        store.ingest("rows", files)
        assert store.multi_get("rows", [b"0000", b"0149", b"0150"]) == [b"00000000", b"01490149", None]
    assert not any(file.exists() for file in files)
    with Store(tmp_path / "store", FAMILIES) as store:
        assert len(list(store.scan("rows"))) == 150


def test_of_several_files_all_are_taken_over_or_none(tmp_path: Path) -> None:
    good = made(tmp_path / "a.sst", range(100))
    bad = tmp_path / "b.sst"
    bad.write_bytes(b"no table" * 100)
    with Store(tmp_path / "store", FAMILIES) as store:
        with pytest.raises(CorruptValue):
            store.ingest("rows", [good, bad])
        assert list(store.scan("rows")) == []
        assert good.exists()


def test_a_later_file_goes_over_what_is_there(tmp_path: Path) -> None:
    with Store(tmp_path / "store", FAMILIES) as store:
        batch = store.batch()
        batch.put("rows", b"0001", b"written")
        store.write(batch)
        store.ingest("rows", [made(tmp_path / "a.sst", range(3))])
        assert store.get("rows", b"0001") == b"00010001"


@pytest.mark.parametrize("keys", [[b"b", b"a"], [b"a", b"a"]], ids=["descending", "twice"])
def test_keys_must_ascend_also_from_call_to_call(tmp_path: Path, keys: list[bytes]) -> None:
    table = TableFile(tmp_path / "a.sst", loaded_family())
    table.extend(keys[:1], [b""])
    with pytest.raises(ValueError, match="does not come after"):
        table.extend(keys[1:], [b""])


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageFault):
        TableFile(tmp_path / "a.sst", loaded_family()).finish()


def test_a_folder_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(StorageFault):
        TableFile(tmp_path / "none" / "a.sst", loaded_family())
