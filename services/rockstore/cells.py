"""The domain of versioned values: which write stays, and when a value is gone.

An object has two cells, its picture-and-text and its feature row, each with a version of its own: a put
without a row leaves the row that is there. A delete writes a tombstone with its version to both, so that
an older put which comes late does not bring the object back. Tombstones and expired values are kept for
a while after they are gone (`config.gone_keep_s`), then purged; what comes later than that is not held off.
Pure rules; `store.py` gives them bytes, `ingest.py` applies them in log order.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A feature row as it was written; lengths already checked against its schema."""

    schema_version: int
    features_f32: bytes
    ids_u64: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """One record of the log, as Rockstore understands it."""

    kind: int
    id: int
    version: int
    """1 or more."""
    time_ms: int
    gone_ms: int
    """When it expires; of a delete, the record's time; 0: it stays."""
    deleted: bool
    object: bytes | None
    """The serialised object; None: this cell is not touched (never so for a put by Ingest)."""
    row: Row | None
    """None: this cell is not touched, unless `deleted`."""


def replaces(*, version: int, stored_version: int) -> bool:
    """Whether a write goes over what is stored: the highest version stays, of equals the later record.

    `stored_version` is 0 where nothing is stored; tombstones and expired values keep their version.
    """
    return version >= stored_version


def is_there(*, deleted: bool, gone_ms: int, now_ms: int) -> bool:
    """Whether a cell is answered at `now_ms`; a value is gone from the millisecond of its expiry on."""
    return not deleted and (gone_ms == 0 or now_ms < gone_ms)
