"""Storage: one embedded RocksDB per process behind a small, safe surface.

`store.py` (read, write, scan), `options.py` (families and their tuning), `batch.py` (what is written
atomically), `scan.py` (iterators that cannot escape), `table_file.py` (files to ingest whole), `faults.py`
(foreign errors into ours).
"""

from services.chassis.storage.batch import Batch
from services.chassis.storage.options import (
    Family,
    StorageMemory,
    edge_family,
    frozen_family,
    loaded_family,
    log_family,
    object_family,
    small_family,
    table_family,
)
from services.chassis.storage.store import Store, StoreLimits
from services.chassis.storage.table_file import TableFile

__all__ = [
    "Batch",
    "Family",
    "StorageMemory",
    "Store",
    "StoreLimits",
    "TableFile",
    "edge_family",
    "frozen_family",
    "loaded_family",
    "log_family",
    "object_family",
    "small_family",
    "table_family",
]
