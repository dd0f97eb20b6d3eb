from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.errors import StorageFault
from services.chassis.storage import (
    Store,
    edge_family,
    frozen_family,
    log_family,
    object_family,
    small_family,
    table_family,
)
from services.chassis.storage.scan import successor

FAMILIES = {
    "log": log_family(),
    "edges": edge_family(3),
    "objects": object_family(),
    "counts": table_family(4),
    "frozen": frozen_family(3),
    "small": small_family(),
}
ORDERED = [name for name, family in FAMILIES.items() if not family.is_table]
# Few letters, so that ranges meet keys; the highest bytes, where the end of a prefix is special.
LETTERS = st.sampled_from([0x00, 0x01, 0x61, 0xFE, 0xFF])
BOUND = st.lists(LETTERS, max_size=6).map(bytes)


def all_keys() -> list[bytes]:
    letters = (0x00, 0x01, 0x61, 0xFE, 0xFF)
    return sorted(bytes([a, b, c, d]) for a in letters for b in letters for c in letters for d in letters)


@pytest.fixture(scope="module", params=["memtable", "files", "both", "reopened"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Every family holds the same 625 keys of 4 bytes, in memory, in files, or in both."""
    opened = Store(tmp_path_factory.mktemp("scan") / "store", FAMILIES)
    keys = all_keys()
    for part in (keys[::2], keys[1::2]):
        if request.param == "both":
            opened.flush()
        batch = opened.batch()
        for key in part:
            for name in FAMILIES:
                batch.put(name, key, key[::-1])
        opened.write(batch)
    if request.param == "files":
        for name in FAMILIES:
            opened.compact(name)
    if request.param == "reopened":
        opened.reopen()
    yield opened
    opened.close()


@settings(deadline=None, max_examples=60)
@given(start=BOUND, end=st.none() | BOUND)
def test_a_scan_gives_exactly_the_range_in_order(store: Store, start: bytes, end: bytes | None) -> None:
    wanted = [(key, key[::-1]) for key in all_keys() if key >= start and (end is None or key < end)]

    for name in FAMILIES:
        assert list(store.scan(name, start=start, end=end)) == wanted, name


@settings(deadline=None, max_examples=60)
@given(start=BOUND, end=st.none() | BOUND)
def test_a_scan_back_gives_the_range_in_reverse(store: Store, start: bytes, end: bytes | None) -> None:
    wanted = [(key, key[::-1]) for key in all_keys() if key >= start and (end is None or key < end)]

    for name in ORDERED:
        assert list(store.scan_back(name, start=start, end=end)) == wanted[::-1], name


@settings(deadline=None, max_examples=60)
@given(prefix=BOUND)
def test_a_prefix_scan_gives_every_key_of_the_prefix(store: Store, prefix: bytes) -> None:
    wanted = [(key, key[::-1]) for key in all_keys() if key.startswith(prefix)]

    for name in FAMILIES:
        assert list(store.scan_prefix(name, prefix)) == wanted, name


@given(prefix=st.binary(max_size=5), key=st.binary(max_size=8))
def test_the_successor_is_the_first_key_past_a_prefix(prefix: bytes, key: bytes) -> None:
    end = successor(prefix)

    inside = key >= prefix and (end is None or key < end)
    assert inside == (key.startswith(prefix) or (end is None and key >= prefix))


def test_a_plain_table_refuses_to_be_scanned_backwards(store: Store) -> None:
    with pytest.raises(ValueError, match="plain table"):
        store.scan_back("counts", start=b"a", end=b"b")


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Store]:
    """A store of 2,000 rows in one family: many row groups."""
    opened = Store(tmp_path / "store", {"log": log_family()})
    batch = opened.batch()
    for row in range(2_000):
        batch.put("log", row.to_bytes(4, "big"), b"old")
    opened.write(batch)
    yield opened
    opened.close()


def test_a_scan_sees_the_rows_of_its_beginning(rows: Store) -> None:
    scan = rows.scan("log")
    first = next(scan)
    batch = rows.batch()
    for row in range(0, 2_000, 2):
        batch.put("log", row.to_bytes(4, "big"), b"new")
    batch.delete_range("log", (1_000).to_bytes(4, "big"), (1_500).to_bytes(4, "big"))
    batch.put("log", b"\xff", b"new")
    rows.write(batch)
    rows.compact("log")

    seen = [first, *scan]

    assert len(seen) == 2_000
    assert {value for _, value in seen} == {b"old"}


def test_a_scan_that_a_close_cuts_off_fails_instead_of_ending(tmp_path: Path, rows: Store) -> None:
    begun, not_begun, back = rows.scan("log"), rows.scan("log"), rows.scan_back("log")
    next(begun)
    next(back)

    rows.close()

    for scan in (begun, not_begun, back):
        with pytest.raises(StorageFault, match="closed"):
            list(scan)
    Store(rows.path, {"log": log_family()}).close()  # nothing holds the files


def test_a_scan_that_a_reopening_cuts_off_fails_instead_of_ending(rows: Store) -> None:
    scan = rows.scan("log")
    next(scan)

    rows.reopen()

    with pytest.raises(StorageFault, match="opened again"):
        list(scan)
    assert len(list(rows.scan("log"))) == 2_000


def test_a_scan_that_is_left_early_holds_nothing(rows: Store) -> None:
    for _ in rows.scan("log"):
        break
    closed = rows.scan("log")
    next(closed)
    closed.close()  # type: ignore[attr-defined]

    assert rows.stats()["live_scans"] == 0


def test_large_values_are_taken_in_small_groups(tmp_path: Path) -> None:
    with Store(tmp_path / "store", {"objects": object_family()}) as store:
        batch = store.batch()
        for row in range(40):
            batch.put("objects", row.to_bytes(4, "big"), bytes(400_000))
        store.write(batch)

        assert [len(value) for _, value in store.scan("objects")] == [400_000] * 40
        assert [len(value) for _, value in store.scan_back("objects")] == [400_000] * 40
