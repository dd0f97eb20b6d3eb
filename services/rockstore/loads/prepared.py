"""A prepared load: a folder of table files with feature rows, and the manifest that says what they are.

    manifest.json   kind, schema version and widths, row version, expiry, sharding, and per file: shards,
                    rows, bytes, checksum
    rows-NNN.sst    cells of the family `rows` (`store.py`) of a range of shards, in key order

Written by `preparing.py` on the machine of the command, read by the hosts. Reading refuses what it does not
understand: another format, names that lead out of the folder, files that are missing or of another size.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import xxhash

from services.chassis.errors import BadRequest, CorruptValue

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
_CHUNK_BYTES: Final = 4 << 20


class BadLoad(BadRequest):
    """A prepared load that does not fit: damaged, of another sharding, or of an undeclared schema."""


@dataclass(frozen=True, slots=True)
class LoadFile:
    """One table file."""

    name: str
    first_shard: int
    last_shard: int
    """Of these shards are its rows, both ends included."""
    row_count: int
    size_bytes: int
    xxh3: str
    """XXH3 of the whole file, 64 bits, in hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class LoadManifest:
    """What a load is."""

    kind: int
    schema_version: int
    feature_count: int
    id_count: int
    version: int
    """Version of every row: against it stand the versions of rows that are written one by one."""
    gone_ms: int
    """When its rows are gone; 0: they stay."""
    num_shards: int
    shard_scheme: str
    made_ms: int
    files: tuple[LoadFile, ...]

    @property
    def row_count(self) -> int:
        """Rows of all files."""
        return sum(file.row_count for file in self.files)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    def write(self, folder: Path) -> None:
        """Write the manifest; on the disk on return."""
        write_durably(folder / MANIFEST, json.dumps({"format": FORMAT, **asdict(self)}, indent=1))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of a folder.

        Raises:
            BadLoad: there is none, or it cannot be understood.
        """
        path = folder / MANIFEST
        try:
            document = json.loads(path.read_text())
            if document.pop("format") != FORMAT:
                raise BadLoad(f"{path} is of another format: use the version that wrote it", path=path)
            manifest = cls(**{**document, "files": tuple(LoadFile(**file) for file in document["files"])})
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadLoad(f"{folder} is no prepared load: {error}", path=folder) from error
        return manifest._checked(path)

    def _checked(self, path: Path) -> Self:
        numbers = (self.kind, self.schema_version, self.feature_count, self.id_count, self.version)
        if not all(isinstance(number, int) and 0 <= number < 1 << 64 for number in (*numbers, self.gone_ms)):
            raise BadLoad(f"{path} holds numbers that are none", path=path)
        for file in self.files:
            if not isinstance(file.name, str) or Path(file.name).name != file.name or file.name in ("", ".."):
                raise BadLoad(f"{path} names {file.name!r}, which is no file of its folder", path=path)
        return self


def copy_checked(source: Path, target: Path, file: LoadFile) -> Iterator[int]:
    """Copy a table file, yielding the bytes of each step.

    Raises:
        CorruptValue: the bytes are not those that the manifest tells of.
    """
    digest = xxhash.xxh3_64()
    with source.open("rb") as reading, target.open("xb") as writing:
        while chunk := reading.read(_CHUNK_BYTES):
            digest.update(chunk)
            writing.write(chunk)
            yield len(chunk)
        writing.flush()
        os.fsync(writing.fileno())
    if digest.hexdigest() != file.xxh3:
        raise CorruptValue(f"{source} is damaged: prepare the load again", path=source)


def checksum(path: Path) -> str:
    """XXH3 of a file, as manifests hold it."""
    digest = xxhash.xxh3_64()
    with path.open("rb") as reading:
        while chunk := reading.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_durably(path: Path, text: str) -> None:
    """Replace a small file whole, or not at all; on the disk on return."""
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make renames in a folder survive power loss."""
    handle: Any = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
