from pathlib import Path

import pytest

from services.chassis.storage import Batch, Store, edge_family, small_family, table_family

FAMILIES = {"counts": table_family(8), "edges": edge_family(10), "system": small_family()}


def test_a_batch_counts_its_entries_and_bytes() -> None:
    batch = Batch(FAMILIES)
    batch.put("system", b"key", b"value")
    batch.delete("system", b"key")
    batch.delete_range("system", b"a", b"b")

    assert len(batch) == 3
    assert batch.size_bytes == 8 + 3 + 2
    batch.clear()
    assert len(batch) == batch.size_bytes == 0


def test_delete_range_of_a_plain_table_is_refused_before_it_can_do_harm() -> None:
    batch = Batch(FAMILIES)

    with pytest.raises(ValueError, match="plain table"):
        batch.delete_range("counts", bytes(8), b"\xff" * 8)
    assert len(batch) == 0


@pytest.mark.parametrize("size", [0, 7, 9])
def test_a_key_that_does_not_fit_a_plain_table_is_refused(size: int) -> None:
    batch = Batch(FAMILIES)

    with pytest.raises(ValueError, match="8 bytes"):
        batch.put("counts", bytes(size), b"v")
    with pytest.raises(ValueError, match="8 bytes"):
        batch.delete("counts", bytes(size))
    assert len(batch) == 0


def test_a_range_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="ends before"):
        Batch(FAMILIES).delete_range("system", b"b", b"a")


def test_later_operations_win_over_earlier_ones(tmp_path: Path) -> None:
    with Store(tmp_path / "store", FAMILIES) as store:
        batch = store.batch()
        batch.put("edges", b"0123456789a", b"1")
        batch.put("edges", b"0123456789b", b"1")
        batch.delete_range("edges", b"0123456789a", b"0123456789b")
        batch.put("edges", b"0123456789c", b"1")
        batch.delete("edges", b"0123456789c")
        batch.put("edges", b"0123456789c", b"2")
        store.write(batch)

        assert list(store.scan("edges")) == [(b"0123456789b", b"1"), (b"0123456789c", b"2")]
