"""The folder of graphs: what lies in it, written whole or not at all.

    graphs/
    ├── 20261128T180000/        a version: named after when it was built; the last by name is the newest
    │   ├── manifest.json       counts, sizes and checksums of the files, how it was built (`Manifest`)
    │   ├── pins.u64            ids ascending: a pin's place is its row
    │   ├── boards.u64          ids ascending
    │   ├── pin_starts.u64      edges of pin p: pin_edges[pin_starts[p]:pin_starts[p + 1]], rows of boards
    │   ├── pin_edges.u32
    │   ├── board_starts.u64    the same the other way round
    │   ├── board_edges.u32
    │   ├── pin_classes.u16     what biased walks may prefer: place in `Manifest.class_names`; 0: none
    │   └── board_classes.u16
    ├── .building-…/            being built: names with a dot are no versions
    └── .dropped-…/             being removed

Files are raw little-endian arrays, so that a graph is mapped, not read. The edges of a node are in the order
of (class of the neighbour, its row): neighbours of one class are one run, as biased walks want it.
Building writes here (`building/`), the service reads (`graph.py`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from services.chassis.errors import DataLoss, NotFound

assert sys.byteorder == "little", "the files are little-endian, and mapped as they lie"

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
DROPPED: Final = ".dropped-"
"""Begins the name of a version that is being removed."""
NAME: Final = re.compile(r"[0-9]{8}T[0-9]{6}[A-Za-z0-9_.-]{0,40}")
"""What a version may be called."""
NODES_MAX: Final = 1 << 32
"""Pins, and boards: a row is a uint32."""
CLASSES_MAX: Final = 1 << 16
"""Classes, the one of no class included: a class is a uint16."""
FILES: Final[Mapping[str, np.dtype[Any]]] = {
    "pins": np.dtype("<u8"),
    "boards": np.dtype("<u8"),
    "pin_starts": np.dtype("<u8"),
    "pin_edges": np.dtype("<u4"),
    "board_starts": np.dtype("<u8"),
    "board_edges": np.dtype("<u4"),
    "pin_classes": np.dtype("<u2"),
    "board_classes": np.dtype("<u2"),
}
"""Arrays by name: the fields of `Graph`."""
_CHUNK_BYTES: Final = 4 << 20


class BadGraph(DataLoss):
    """A folder is no graph that can be walked: files are missing, damaged, or do not fit together."""


def file_name(array: str) -> str:
    """The file of an array."""
    return f"{array}.u{FILES[array].itemsize * 8}"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file as it was written."""

    size_bytes: int
    xxh3_128: str
    """XXH3 of the whole file, 128 bits, in hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a graph is."""

    version: str
    pin_count: int
    board_count: int
    edge_count: int
    pin_degree_max: int
    """Boards of the pin that is on most."""
    board_degree_max: int
    built_ms: int
    """Milliseconds since 1970."""
    source: str
    """What it was built from, for people."""
    bias: str
    """What classes are: `language`, `interest` or `none`."""
    class_names: tuple[str, ...]
    """By class; the first one is empty: none."""
    files: Mapping[str, FileEntry]
    """By array."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What the builder was told: pruning, limits."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What the builder read, and what each step left out."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files.values())

    def length(self, array: str) -> int:
        """Entries that an array must have."""
        side = "pin" if array.startswith("pin") else "board"
        nodes = self.pin_count if side == "pin" else self.board_count
        if array.endswith("_edges"):
            return self.edge_count
        return nodes + 1 if array.endswith("_starts") else nodes

    def text(self) -> str:
        """As the file holds it."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of a version.

        Raises:
            BadGraph: there is none, it is of another format, or it does not fit itself or the folder's name.
        """
        path = folder / MANIFEST
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document.pop("format") != FORMAT:
                raise BadGraph(f"{path} is of another format: build the graph again", path=path)
            files = {name: FileEntry(**entry) for name, entry in document["files"].items()}
            names = tuple(document["class_names"])
            manifest = cls(**{**document, "files": files, "class_names": names})
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadGraph(f"{path} cannot be read: {error!r}", path=path) from error
        manifest._check(path)
        return manifest

    def _check(self, path: Path) -> None:
        counts = (self.pin_count, self.board_count, self.edge_count)
        if not all(isinstance(count, int) and count > 0 for count in counts):
            raise BadGraph(f"{path} tells of {counts} pins, boards and edges", path=path)
        if max(counts[:2]) > NODES_MAX:
            raise BadGraph(f"{path} tells of more than {NODES_MAX} nodes of one side", path=path)
        # A name that is no number of the classes would be walked as another language.
        if not 1 <= len(self.class_names) <= CLASSES_MAX or self.class_names[0] != "":
            raise BadGraph(f"{path} names {len(self.class_names)} classes, the first not empty", path=path)
        if set(self.files) != set(FILES):
            raise BadGraph(f"{path} does not tell of the files {', '.join(FILES)}", path=path)
        for name, entry in self.files.items():
            if entry.size_bytes != self.length(name) * FILES[name].itemsize:
                raise BadGraph(f"{path}: {entry.size_bytes} bytes of {name} do not fit its counts", path=path)
        if self.version != path.parent.name:
            raise BadGraph(f"{path} is of version {self.version}, not of its folder's", path=path)


def version_names(graphs_dir: Path) -> list[str]:
    """Folders that look like versions, the newest last; none when there is no such directory."""
    if not graphs_dir.is_dir():
        return []
    return sorted(entry.name for entry in graphs_dir.iterdir() if is_version(entry))


def is_version(path: Path) -> bool:
    """Whether a path looks like a version: from its name."""
    return NAME.fullmatch(path.name) is not None and path.is_dir()


def newest(graphs_dir: Path) -> Path:
    """The folder of the newest version. Raises NotFound when there is none."""
    names = version_names(graphs_dir)
    if not names:
        raise NotFound(f"no graph in {graphs_dir}: make one with feedmesh pixie build", path=graphs_dir)
    return graphs_dir / names[-1]


def map_arrays(folder: Path, manifest: Manifest) -> dict[str, NDArray[Any]]:
    """All arrays, mapped and read-only; the mapping goes when the last array that is made of it does.

    Raises:
        BadGraph: a file is missing, or not as long as the manifest says.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, dtype in FILES.items():
        path = folder / file_name(name)
        try:
            size_bytes = path.stat().st_size
            if size_bytes != manifest.files[name].size_bytes:
                raise BadGraph(
                    f"{path} has {size_bytes} bytes, not {manifest.files[name].size_bytes}", path=path
                )
            # A plain array over the mapping: numpy's own class for it costs at every slice.
            arrays[name] = np.memmap(path, dtype, mode="r").view(np.ndarray)
        except (OSError, ValueError) as error:
            raise BadGraph(f"{path} cannot be mapped: {error}", path=path) from error
    return arrays


def check_sums(folder: Path, manifest: Manifest) -> None:
    """Read every file whole; about a second per GB where the disk keeps up.

    Raises:
        BadGraph: the bytes of a file are not those that were written.
    """
    for name in FILES:
        path = folder / file_name(name)
        try:
            found = checksum(path)
        except OSError as error:
            raise BadGraph(f"{path} cannot be read: {error}", path=path) from error
        if found != manifest.files[name].xxh3_128:
            raise BadGraph(f"{path} is damaged: its checksum does not match; build again", path=path)


def checksum(path: Path) -> str:
    """XXH3 of a file, 128 bits, as manifests hold it."""
    digest = xxhash.xxh3_128()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def file_entry(path: Path) -> FileEntry:
    """What a manifest says of a file."""
    return FileEntry(path.stat().st_size, checksum(path))


def complete(draft: Path, graphs_dir: Path, manifest: Manifest) -> Path:
    """Give a filled folder its manifest and its name, on the disk on return; the version's folder.

    The draft must lie on the file system of `graphs_dir`. A version of that name makes this fail (OSError).
    """
    for name in FILES:
        _sync(draft / file_name(name))
    path = draft / MANIFEST
    path.write_text(manifest.text(), encoding="utf-8")
    _sync(path)
    _sync(draft)
    target = graphs_dir / manifest.version
    draft.rename(target)
    _sync(graphs_dir)
    return target


def drop(folder: Path) -> None:
    """Remove a version. Whoever has it mapped keeps it until the mapping goes."""
    # Renamed first: a half removed one must not look like a version.
    dropped = folder.with_name(f"{DROPPED}{folder.name}")
    folder.rename(dropped)
    shutil.rmtree(dropped)


def _chunks(path: Path) -> Iterator[memoryview]:
    buffer = bytearray(_CHUNK_BYTES)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            yield memoryview(buffer)[:count]


def _sync(path: Path) -> None:
    """Bytes of a file, or names of a folder, on the disk: a manifest must not outlive what it tells of."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
