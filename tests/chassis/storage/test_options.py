import re
from pathlib import Path

import pytest

from services.chassis.storage import (
    StorageMemory,
    Store,
    edge_family,
    frozen_family,
    log_family,
    object_family,
    small_family,
    table_family,
)

FAMILIES = {
    "log": log_family(),
    "edges": edge_family(10),
    "objects": object_family(),
    "counts": table_family(10),
    "frozen": frozen_family(12),
    "small": small_family(),
}


Sections = dict[str, dict[str, str]]


def options_on_disk(path: Path) -> Sections:
    """What RocksDB says that it runs with: its newest OPTIONS file, by section."""
    newest = max(path.glob("OPTIONS-*"), key=lambda file: int(file.name.split("-")[1]))
    sections: Sections = {}
    for line in newest.read_text().splitlines():
        if header := re.match(r'\[(\w+)(?:/\w+)? ?"?(\w*)"?\]', line.strip()):
            current = sections.setdefault(f"{header[1]} {header[2]}".strip(), {})
        elif "=" in line:
            name, value = line.strip().split("=", 1)
            current[name] = value
    return sections


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Sections:
    path = tmp_path_factory.mktemp("options") / "store"
    Store(path, FAMILIES).close()
    with Store(path, FAMILIES):  # opened twice: what counts is what holds after a restart
        return options_on_disk(path)


@pytest.mark.parametrize("name", ["log", "edges", "objects", "counts", "small", "default"])
def test_level_0_and_level_1_are_of_one_size(on_disk: Sections, name: str) -> None:
    family = on_disk[f"CFOptions {name}"]

    level_0 = int(family["write_buffer_size"]) * int(family["level0_file_num_compaction_trigger"])
    assert level_0 == int(family["max_bytes_for_level_base"])
    assert family["level_compaction_dynamic_level_bytes"] == "true"


def test_objects_are_compressed_by_level_and_large_ones_leave_the_tree(
    on_disk: Sections,
) -> None:
    family = on_disk["CFOptions objects"]

    assert family["compression_per_level"].split(":")[:3] == [
        "kNoCompression",
        "kNoCompression",
        "kLZ4Compression",
    ]
    assert family["bottommost_compression"] == "kZSTD"
    assert (family["enable_blob_files"], family["min_blob_size"]) == ("true", "4096")


def test_counts_are_a_plain_table_with_hash_lists_in_memory(on_disk: Sections) -> None:
    family = on_disk["CFOptions counts"]

    assert family["table_factory"] == "PlainTable"
    assert family["memtable_factory"].startswith("{id=HashLinkListRepFactory;")
    assert on_disk["DBOptions"]["allow_mmap_reads"] == "true"


def test_frozen_buckets_are_compacted_universally_in_large_blocks(on_disk: Sections) -> None:
    assert on_disk["CFOptions frozen"]["compaction_style"] == "kCompactionStyleUniversal"
    assert "12" in on_disk["CFOptions frozen"]["prefix_extractor"]
    assert on_disk["TableOptions frozen"]["block_size"] == "16384"


def test_every_block_table_has_a_bloom_filter_inside_the_cache(on_disk: Sections) -> None:
    for name in ("log", "edges", "objects", "frozen", "small", "default"):
        table = on_disk[f"TableOptions {name}"]
        assert "bloomfilter" in table["filter_policy"], name
        assert table["cache_index_and_filter_blocks"] == "true", name


def test_stores_of_one_process_share_one_block_cache(tmp_path: Path) -> None:
    memory = StorageMemory(block_cache_bytes=1 << 20, memtable_bytes=1 << 20)
    families = {"small": small_family()}
    with (
        Store(tmp_path / "a", families, memory=memory) as a,
        Store(tmp_path / "b", families, memory=memory) as b,
    ):
        batch = a.batch()
        for row in range(5_000):
            batch.put("small", row.to_bytes(4, "big"), bytes(100))
        a.write(batch)
        a.compact("small")
        assert len(list(a.scan("small"))) == 5_000

        assert b.stats()["block_cache_bytes"] == a.stats()["block_cache_bytes"] > 100_000


def test_the_memtables_of_a_process_are_bounded_together(tmp_path: Path) -> None:
    memory = StorageMemory(memtable_bytes=2 << 20)
    with Store(tmp_path / "store", {"log": log_family(), "edges": edge_family(4)}, memory=memory) as store:
        for part in range(3):
            batch = store.batch()
            for row in range(1_000):
                batch.put("log", (part * 1_000 + row).to_bytes(4, "big"), bytes(1_000))
            store.write(batch)

        # 3 MB fit the family's own 8 MB: only the budget of the process can have sealed a memtable,
        # which now waits for its flush, or (asked second, as that is the later state) is in a file.
        sealed = store._property("log", "rocksdb.num-immutable-mem-table")
        assert sealed + store.stats()["file_bytes"] > 0


@pytest.mark.parametrize("key_bytes", [0, -1, 65])
def test_a_table_needs_a_sensible_key_size(key_bytes: int) -> None:
    with pytest.raises(ValueError, match="key_bytes"):
        table_family(key_bytes)
