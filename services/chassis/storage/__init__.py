"""Storage: one embedded RocksDB per process behind a small, safe surface.

`store.py` (read, write, scan), `options.py` (families and their tuning), `batch.py` (what is written
atomically), `scan.py` (iterators that cannot escape), `faults.py` (foreign errors into ours).
"""

from services.chassis.storage.batch import Batch
from services.chassis.storage.options import (
    Family,
    StorageMemory,
    edge_family,
    frozen_family,
    log_family,
    object_family,
    small_family,
    table_family,
)
from services.chassis.storage.store import Store, StoreLimits

__all__ = [
    "Batch",
    "Family",
    "StorageMemory",
    "Store",
    "StoreLimits",
    "edge_family",
    "frozen_family",
    "log_family",
    "object_family",
    "small_family",
    "table_family",
]
