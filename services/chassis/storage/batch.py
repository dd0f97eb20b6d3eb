"""Owns what one write changes: puts and deletes over several families, applied whole or not at all.

A batch is our own list of operations. The engine's batch is made from it at the moment of writing and
consumed by it, so a write that failed can be tried again with the same `Batch`.
Refuses, when the operation is added: an undeclared family, a key that does not fit a plain table, and
delete_range on a plain table, which RocksDB accepts and which makes the whole database unreadable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.chassis.storage.options import Family

PUT, DELETE, DELETE_RANGE = 0, 1, 2

Operation = tuple[int, str, bytes, bytes]


class Batch:
    """Operations in order; a later one wins over an earlier one on the same key. Not thread-safe."""

    __slots__ = ("_families", "operations", "size_bytes")

    def __init__(self, families: Mapping[str, Family]) -> None:
        self._families = families
        self.operations: list[Operation] = []
        self.size_bytes = 0

    def put(self, family: str, key: bytes, value: bytes) -> None:
        """Set `key` to `value`."""
        self._check(family, key)
        self.operations.append((PUT, family, key, value))
        self.size_bytes += len(key) + len(value)

    def delete(self, family: str, key: bytes) -> None:
        """Remove `key`; absent is fine."""
        self._check(family, key)
        self.operations.append((DELETE, family, key, b""))
        self.size_bytes += len(key)

    def delete_range(self, family: str, start: bytes, end: bytes) -> None:
        """Remove every key in [start, end); for whole stretches, as each range slows later reads a little.

        Raises:
            ValueError: the family is a plain table (delete its keys one by one), or end < start.
        """
        if self._families[family].is_table:
            raise ValueError(f"{family} is a plain table: delete_range would destroy it, delete key by key")
        if end < start:
            raise ValueError(f"delete_range of {family} ends before it starts")
        self.operations.append((DELETE_RANGE, family, start, end))
        self.size_bytes += len(start) + len(end)

    def clear(self) -> None:
        """Forget every operation, to use the object again."""
        self.operations.clear()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self.operations)

    def _check(self, family: str, key: bytes) -> None:
        key_bytes = self._families[family].key_bytes
        if key_bytes and len(key) != key_bytes:
            raise ValueError(f"a key of {family} has {key_bytes} bytes, not {len(key)}")


def fill(native: Any, operations: list[Operation], handles: Mapping[str, Any]) -> None:
    """Copy the operations into an engine batch; `handles` gives each family's handle."""
    put, delete, delete_range = native.put, native.delete, native.delete_range
    for kind, family, first, second in operations:
        if kind == PUT:
            put(first, second, handles[family])
        elif kind == DELETE:
            delete(first, handles[family])
        else:
            delete_range(first, second, handles[family])
