"""Owns which of the engine's figures are shown, and under which names: bytes by kind, keys, stalls.

    keys_estimated             live keys, roughly: deletions count as keys until they are compacted away
    file_bytes, blob_bytes     on disk, files that wait for deletion included
    memtable_bytes             in memory, to be flushed
    compaction_pending_bytes   what compaction still has to rewrite; growing for hours: disks are too slow
    block_cache_bytes          used, of the process's one cache
    write_stopped              1 while the engine refuses writes to catch up with compaction
    background_errors          failed flushes and compactions since the open

Where next: a service's `metrics.py`, which publishes them.
"""

from collections.abc import Callable, Iterable

FAMILY_GAUGES = {
    "keys_estimated": "rocksdb.estimate-num-keys",
    "file_bytes": "rocksdb.total-sst-files-size",
    "blob_bytes": "rocksdb.total-blob-file-size",
    "memtable_bytes": "rocksdb.cur-size-all-mem-tables",
    "compaction_pending_bytes": "rocksdb.estimate-pending-compaction-bytes",
}
STORE_GAUGES = {
    "block_cache_bytes": "rocksdb.block-cache-usage",
    "write_stopped": "rocksdb.is-write-stopped",
    "background_errors": "rocksdb.background-errors",
}

Read = Callable[[str, str], int]


def of_families(read: Read, families: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return the family gauges by family; `read` takes a family and a property of the engine."""
    return {family: {name: read(family, key) for name, key in FAMILY_GAUGES.items()} for family in families}


def of_store(read: Read, families: Iterable[str]) -> dict[str, int]:
    """Return the family gauges summed, and the gauges that exist once for a store."""
    by_family = of_families(read, families)
    summed = {name: sum(one[name] for one in by_family.values()) for name in FAMILY_GAUGES}
    return summed | {name: read("default", key) for name, key in STORE_GAUGES.items()}
