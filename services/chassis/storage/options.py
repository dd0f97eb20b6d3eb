"""Owns the families (column families) of a store and the tuning of each; the other importer of rocksdict.

What the systems this project follows tuned in RocksDB, and where it is here:

    Pinterest tuning             here
    L0 and L1 of one size        L1 = write_buffer_bytes * LEVEL_0_FILES, always derived: an L0 that
                                 outgrows L1 makes every compaction of it rewrite the whole of L1
    compaction threads           `StorageMemory.background_jobs`, 2: nine processes share a small machine
    compression by level         `Family.compression`: none where data is hot and rewritten soon (L0, L1),
                                 LZ4 below, ZSTD at the bottom (`bottom_compression`)
    multipliers by level         `LEVEL_MULTIPLIER`, 10, with dynamic level sizes: levels are sized from the
                                 last one up, so space amplification stays near 1.1; RocksDB ignores
                                 per-level multipliers in that mode, and needs none
    plain table for counts       `table_family`: PlainTable, hash-list memtable, mmap reads, fixed-size keys
    bounded merge operands       no merge operator at all: the follower is the only writer, appends to a
                                 bounded mutable bucket in memory and freezes it into one immutable value
    prefix bloom filters         `Family.prefix_bytes`: in memtables and files
    write once, read for months  `frozen_family`: universal compaction, 16 KB blocks, ZSTD at the bottom

Where next: `store.py`, which passes every family at every open.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DataBlockIndexType,
    DBCompactionStyle,
    DBCompressionType,
    MemtableFactory,
    Options,
    PlainTableFactoryOptions,
    ReadOptions,
    SliceTransform,
    UniversalCompactOptions,
    WriteBufferManager,
)

KB = 1 << 10
MB = 1 << 20

LEVELS = 7
LEVEL_0_FILES = 4
LEVEL_MULTIPLIER = 10.0
BLOOM_BITS_PER_KEY = 10
# 100,000 list heads are 0.8 MB a memtable; an 8 MB memtable of counts then has about 2 rows in each list.
TABLE_MEMTABLE_BUCKETS = 100_000

Compression = Literal["none", "lz4", "zstd"]
NONE: Compression = "none"
LZ4: Compression = "lz4"
HOT_THEN_LZ4: tuple[Compression, ...] = (NONE,) * 2 + (LZ4,) * (LEVELS - 2)


@dataclass(frozen=True, slots=True)
class StorageMemory:
    """What the stores of one process may spend together; equal values share one cache and one budget."""

    block_cache_bytes: int = 64 * MB
    """Blocks, indexes and bloom filters read from files."""
    memtable_bytes: int = 64 * MB
    """All memtables together: past it RocksDB flushes the largest. Writes are never stalled for it."""
    background_jobs: int = 2
    """Threads that flush and compact."""
    wal_bytes_max: int = 128 * MB
    """Write-ahead log of one store, and so the most that is replayed after a crash."""
    open_files_max: int = 512
    """Table files one store holds open."""


MEMORY_DEFAULT = StorageMemory()


@dataclass(frozen=True, slots=True)
class Family:
    """How one family of keys is stored; make it with a preset below, vary it with `dataclasses.replace`."""

    write_buffer_bytes: int = 8 * MB
    """Size of one memtable; L0 and L1 are derived from it."""
    block_bytes: int = 4 * KB
    """Uncompressed size of a data block: small for point reads, large for scans and compression."""
    prefix_bytes: int = 0
    """Leading bytes of a key that a scan fixes (0: none); keys must be at least this long."""
    key_bytes: int = 0
    """Exact key size of a plain table; 0 for every other family."""
    compression: tuple[Compression, ...] = HOT_THEN_LZ4
    """By level, L0 first; a level past the end has the last one."""
    bottom_compression: Compression | None = None
    """Compression of the last level, where most bytes are; None: as `compression` says."""
    universal: bool = False
    """Universal compaction: fewer rewrites, for keys that are written once."""
    hash_index: bool = False
    """Hash index inside data blocks, for point reads."""
    blob_bytes_min: int = 0
    """Values of this size and up live in blob files, which compaction does not rewrite; 0: none do."""

    @property
    def is_table(self) -> bool:
        """Whether this is a plain table: no delete_range, no scan_back, and a scan reads the whole family."""
        return self.key_bytes > 0


def log_family() -> Family:
    """Append-only keys in order, trimmed by delete_range: event logs and redo logs."""
    return Family(block_bytes=16 * KB)


def edge_family(prefix_bytes: int) -> Family:
    """Many short rows under a shared prefix, scanned by it: edges, chunks of edges."""
    return Family(
        block_bytes=8 * KB,
        prefix_bytes=prefix_bytes,
        compression=(LZ4,) * LEVELS,
        bottom_compression="zstd",
    )


def object_family() -> Family:
    """Values read by exact key; 4 KB and up go to blob files."""
    return Family(hash_index=True, bottom_compression="zstd", blob_bytes_min=4 * KB)


def table_family(key_bytes: int) -> Family:
    """Fixed-size keys with small values, read and overwritten all the time: counts.

    Not for delete_range (RocksDB accepts it and the database cannot be read again: refused by `Batch`),
    and not for ranges: a plain table has no order to seek in, so a scan reads the whole family.
    """
    if not 1 <= key_bytes <= 64:
        raise ValueError(f"a table's key_bytes must be between 1 and 64, not {key_bytes}")
    return Family(prefix_bytes=key_bytes, key_bytes=key_bytes, compression=(NONE,) * LEVELS)


def frozen_family(prefix_bytes: int) -> Family:
    """Immutable blobs, written once and read for months: closed time buckets."""
    return Family(
        block_bytes=16 * KB,
        prefix_bytes=prefix_bytes,
        compression=(LZ4,) * LEVELS,
        bottom_compression="zstd",
        universal=True,
    )


def loaded_family() -> Family:
    """Values read by exact key that come in whole table files and are never written singly."""
    # No level of its own to grow hot in: the files lie at the bottom from the first moment.
    return Family(
        write_buffer_bytes=2 * MB, hash_index=True, compression=(LZ4,) * LEVELS, bottom_compression=LZ4
    )


def small_family() -> Family:
    """A few thousand keys: offsets, tails, settings."""
    return Family(write_buffer_bytes=2 * MB)


def open_options(families: Mapping[str, Family], memory: StorageMemory) -> dict[str, Options]:
    """Return fresh options by family, to be passed whole at every open.

    RocksDB takes the database-wide settings from the default family's options, so all carry them.
    """
    has_table = any(family.is_table for family in families.values())
    return {name: _family_options(family, memory, mmap=has_table) for name, family in families.items()}


def scan_options(*, upper_bound: bytes | None, one_prefix: bool) -> ReadOptions:
    """Return options of one iterator. The caller keeps `upper_bound` alive: RocksDB has only a pointer to it.

    `one_prefix`: the range lies inside one prefix, so bloom filters may rule files out. Otherwise the
    iterator must be told to ignore prefixes, or it may leave out rows of a range that spans several.
    """
    options = ReadOptions()
    if one_prefix:
        options.set_prefix_same_as_start(True)
    else:
        options.set_total_order_seek(True)
    if upper_bound is not None:
        options.set_iterate_upper_bound(upper_bound)
    return options


def list_options() -> Options:
    """Return options that only list the families on disk."""
    return Options(raw_mode=True)


@functools.cache
def _shared(memory: StorageMemory) -> tuple[Cache, WriteBufferManager]:
    """One cache and one memtable budget for all stores of the process, however many are opened."""
    return Cache(memory.block_cache_bytes), WriteBufferManager(memory.memtable_bytes, False)


def _family_options(family: Family, memory: StorageMemory, *, mmap: bool) -> Options:
    options = _database_options(memory, mmap=mmap)
    options.set_write_buffer_size(family.write_buffer_bytes)
    options.set_max_write_buffer_number(3)
    options.set_level_zero_file_num_compaction_trigger(LEVEL_0_FILES)
    options.set_max_bytes_for_level_base(family.write_buffer_bytes * LEVEL_0_FILES)
    options.set_max_bytes_for_level_multiplier(LEVEL_MULTIPLIER)
    options.set_level_compaction_dynamic_level_bytes(True)
    options.set_target_file_size_base(family.write_buffer_bytes)
    options.set_target_file_size_multiplier(2)
    options.set_num_levels(LEVELS)
    options.set_compression_per_level([_compression(name) for name in family.compression])
    if family.bottom_compression is not None:
        options.set_bottommost_compression_type(_compression(family.bottom_compression))
    if family.prefix_bytes:
        options.set_prefix_extractor(SliceTransform.create_fixed_prefix(family.prefix_bytes))
    if family.universal:
        options.set_compaction_style(DBCompactionStyle.universal())
        universal = UniversalCompactOptions()
        universal.size_ratio = 10
        universal.max_size_amplification_percent = 100
        options.set_universal_compaction_options(universal)
    if family.blob_bytes_min:
        options.set_enable_blob_files(True)
        options.set_min_blob_size(family.blob_bytes_min)
        options.set_blob_compression_type(DBCompressionType.lz4())
        options.set_enable_blob_gc(True)
    if family.is_table:
        _use_plain_table(options, family)
    else:
        _use_block_table(options, family, _shared(memory)[0])
    return options


def _database_options(memory: StorageMemory, *, mmap: bool) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_write_buffer_manager(_shared(memory)[1])
    options.set_max_background_jobs(memory.background_jobs)
    options.set_max_open_files(memory.open_files_max)
    options.set_max_total_wal_size(memory.wal_bytes_max)
    options.set_bytes_per_sync(MB)
    options.set_wal_bytes_per_sync(MB)
    # One writer per store (the follower, or the log's committer), so nothing is lost; a hash-list
    # memtable requires it of the whole database.
    options.set_allow_concurrent_memtable_write(False)
    options.set_allow_mmap_reads(mmap)
    # RocksDB's own text log, and its periodic dump of statistics into it.
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(4 * MB)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    return options


def _use_block_table(options: Options, family: Family, cache: Cache) -> None:
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_block_size(family.block_bytes)
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, False)
    table.set_format_version(5)
    # Inside the cache's budget: outside it, filters and indexes grow with the data, unseen.
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    if family.hash_index:
        table.set_data_block_index_type(DataBlockIndexType.binary_and_hash())
        table.set_data_block_hash_ratio(0.75)
    options.set_block_based_table_factory(table)
    options.set_memtable_prefix_bloom_ratio(0.02)
    options.set_memtable_whole_key_filtering(True)


def _use_plain_table(options: Options, family: Family) -> None:
    table = PlainTableFactoryOptions()
    table.user_key_length = family.key_bytes
    table.bloom_bits_per_key = BLOOM_BITS_PER_KEY
    table.hash_table_ratio = 0.75
    table.index_sparseness = 1
    options.set_plain_table_factory(table)
    hash_list: Any = MemtableFactory.hash_link_list  # its stub leaves out the argument
    options.set_memtable_factory(hash_list(TABLE_MEMTABLE_BUCKETS))


def _compression(name: Compression) -> DBCompressionType:
    kinds = {
        "none": DBCompressionType.none,
        "lz4": DBCompressionType.lz4,
        "zstd": DBCompressionType.zstd,
    }
    return kinds[name]()
