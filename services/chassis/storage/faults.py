"""Owns the translation of RocksDB's errors, which arrive as bare exceptions with a text, into our tree.

What is neither a full disk nor corruption is a StorageFault.
Where next: `store.py`, which calls this around every call into the engine.
"""

from __future__ import annotations

from pathlib import Path

from services.chassis.errors import CorruptValue, DiskFull, FeedmeshError, StorageFault

FULL_SIGNS = ("No space left on device", "Disk quota exceeded", "Space limit reached", "Max allowed space")
_LOCKED_HERE = "lock hold by current process"
_LOCKED_ELSEWHERE = "While lock file"


def translate(error: Exception, *, path: Path, doing: str) -> FeedmeshError:
    """Return our error for one of RocksDB's; raise it `from` the original."""
    text = str(error)
    if any(sign in text for sign in FULL_SIGNS):
        return DiskFull(f"disk full while {doing} {path}: free space, then try again", path=path)
    if text.startswith("Corruption"):
        return CorruptValue(f"corrupt data while {doing} {path}: restore a checkpoint ({text})", path=path)
    return StorageFault(f"storage failed while {doing} {path}: {text}", path=path)


def translate_open(error: Exception, *, path: Path) -> FeedmeshError:
    """Return our error for a failed open; a held lock says who holds it."""
    text = str(error)
    if _LOCKED_HERE in text:
        return StorageFault(f"{path} is already open in this process: close that store first", path=path)
    if _LOCKED_ELSEWHERE in text:
        return StorageFault(
            f"{path} is already open by another process: stop it, or give this one its own data_dir",
            path=path,
        )
    return translate(error, path=path, doing="opening")
