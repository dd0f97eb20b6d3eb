"""The folder of item factors: what lies in it, written whole or not at all.

    factors/
    └── saves/                     factors by name, as a feature's source names them: `factors.saves`
        ├── 20261128T180000/       a version: it never changes, and a feature names it
        │   ├── manifest.json      counts, checksums, and how they were learned (`Manifest`); written last
        │   ├── pins.u64           ids ascending: a pin's place is its row
        │   └── factors.f32        (pin, dim), row-major, z of `space.py`; or factors.f16: `scale` · z
        └── .20261129T180000.x/    being written: names with a dot are no versions

Raw little-endian arrays, so that a version is mapped, not read, and processes of a machine share its pages.
`feedmesh factors build` writes here, `factors.py` reads. The only file that knows the layout.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from services.chassis.errors import BadRequest, CorruptValue
from services.scorpion.factors.space import folded_space

assert sys.byteorder == "little", "the files are little-endian, and mapped as they lie"

MANIFEST: Final = "manifest.json"
PINS: Final = "pins.u64"
FORMAT: Final = 1

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""What factors may be called: a part of a feature's source."""
VERSION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
"""What a version may be called."""

DIM_MAX: Final = 256
"""Greatest dimension: it bounds what a request costs."""
PINS_MAX: Final = (1 << 31) - 1
"""Most pins of a version."""

Precision = Literal["float32", "float16"]
_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}
_HALF_TOP: Final = 2.0**14
"""Halves are scaled so that the greatest lies within a factor of 2 of this: small ones keep their bits."""
_CHUNK_BYTES: Final = 4 << 20


class BadFactors(CorruptValue):
    """A folder holds no factors that can be used: files are missing, damaged, or do not fit together."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file as it was written."""

    size_bytes: int
    xxh3_128: str
    """XXH3 of the whole file, 128 bits, in hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a version is."""

    name: str
    version: str
    pin_count: int
    dim: int
    precision: Precision
    scale: float
    """What the file's numbers were multiplied with; a power of 2, 1 for float32."""
    alpha: float
    """Confidence of a pin of the user is 1 + alpha · its weight in the signal."""
    regularisation: float
    built_ms: int
    """Milliseconds since 1970."""
    source: str
    """What they were learned from, for people."""
    files: Mapping[str, FileEntry]
    learned: Mapping[str, Any] = field(default_factory=dict)
    """How: counts of what was read, iterations, seed, the library's version."""
    until_ms: int = 0
    """What was learned from ends here, milliseconds since 1970; 0: nobody said."""

    @property
    def knows_until_ms(self) -> int:
        """The last moment of which the factors may know."""
        return self.until_ms or self.built_ms

    @property
    def factors_file(self) -> str:
        """Where the vectors are."""
        return "factors.f32" if self.precision == "float32" else "factors.f16"

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of a version. Raises BadFactors: there is none, or it does not fit itself."""
        path = folder / MANIFEST
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document.pop("format") != FORMAT:
                raise BadFactors(f"{path} is of another format: build the factors again")
            files = {name: FileEntry(**entry) for name, entry in document.pop("files").items()}
            manifest = cls(**document, files=files)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as fault:
            raise BadFactors(f"{path} cannot be read: {fault!r}") from fault
        manifest._check(path)
        return manifest

    def _check(self, path: Path) -> None:
        in_order = (
            self.precision in _DTYPES
            and isinstance(self.dim, int)
            and isinstance(self.pin_count, int)
            and 1 <= self.dim <= DIM_MAX
            and 1 <= self.pin_count <= PINS_MAX
            and np.isfinite([self.scale, self.alpha, self.regularisation]).all()
            and self.scale > 0
            and self.alpha >= 0
        )
        if not in_order:
            raise BadFactors(f"{path} tells of factors that cannot be")
        width = _DTYPES[self.precision].itemsize
        sizes = {PINS: 8 * self.pin_count, self.factors_file: width * self.pin_count * self.dim}
        if {name: entry.size_bytes for name, entry in self.files.items()} != sizes:
            raise BadFactors(f"{path} tells of files that {self.pin_count} pins do not make")


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What was learned, before it is written."""

    pins: NDArray[np.uint64]
    """Distinct ids other than 0, in any order."""
    factors: NDArray[np.float32]
    """(pin, dim): y of each."""
    alpha: float
    regularisation: float
    source: str
    told: Mapping[str, Any] = field(default_factory=dict)
    """`Manifest.learned`."""
    until_ms: int = 0
    """`Manifest.until_ms`."""


def write_factors(
    directory: Path, name: str, version: str, learned: Learned, *, precision: Precision, built_ms: int
) -> Path:
    """Write a version and return its folder. A version that exists is refused: models may rest on it.

    Raises BadRequest on names and factors that cannot be, OSError of the disk. Blocks until it is on disk.
    """
    if not NAME.fullmatch(name) or not VERSION.fullmatch(version):
        raise BadRequest(f"{name!r} and {version!r} cannot be the name and version of factors")
    target = directory / name / version
    if target.exists():
        raise BadRequest(f"factors {name} {version} exist in {directory}; give the new ones another version")
    arrays, scale = _arrays(learned, precision)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{version}.", dir=target.parent))
    try:
        manifest = Manifest(
            name=name,
            version=version,
            pin_count=learned.pins.size,
            dim=learned.factors.shape[1],
            precision=precision,
            scale=scale,
            alpha=learned.alpha,
            regularisation=learned.regularisation,
            built_ms=built_ms,
            source=learned.source,
            files={file: _write(beside / file, array.data.cast("B")) for file, array in arrays.items()},
            learned=learned.told,
            until_ms=learned.until_ms,
        )
        text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1) + "\n"
        _write(beside / MANIFEST, memoryview(text.encode()))
        # mkdtemp makes it for its owner alone; the one who serves may be another user.
        beside.chmod(0o755)
        beside.rename(target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    _sync_folder(target.parent)
    return target


def versions_of(directory: Path, name: str) -> list[str]:
    """Versions of factors, the last by name last; none when there is no such folder."""
    folder = directory / name
    if not folder.is_dir():
        return []
    return sorted(
        entry.name for entry in folder.iterdir() if VERSION.fullmatch(entry.name) and entry.is_dir()
    )


def mapped(folder: Path, manifest: Manifest) -> tuple[NDArray[np.uint64], NDArray[Any]]:
    """Pins and factors of a version, mapped read-only; halves as their bits, uint16.

    Reads everything once, to compare checksums: through the mapping, so that no request waits for a page that
    this process has not touched yet. Raises BadFactors.
    """
    bits = np.dtype("<f4") if manifest.precision == "float32" else np.dtype("<u2")
    pins = _mapped(folder / PINS, manifest.files[PINS], np.dtype("<u8"))
    flat = _mapped(folder / manifest.factors_file, manifest.files[manifest.factors_file], bits)
    factors = flat.reshape(manifest.pin_count, manifest.dim)
    if not (pins[1:] > pins[:-1]).all() or pins[0] == 0:
        raise BadFactors(f"{folder / PINS} is not of ascending ids")
    return pins, factors


def _mapped(path: Path, entry: FileEntry, dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        size_bytes = path.stat().st_size
        array = np.asarray(np.memmap(path, dtype, mode="r")) if size_bytes == entry.size_bytes else None
    except (OSError, ValueError) as fault:
        raise BadFactors(f"{path} cannot be read: {fault}") from fault
    if array is None or _digest(array.data.cast("B")) != entry.xxh3_128:
        raise BadFactors(f"{path} is not the file that was written: its size or checksum differs")
    return array


def _digest(data: memoryview) -> str:
    digest = xxhash.xxh3_128()
    for start in range(0, len(data), _CHUNK_BYTES):
        digest.update(data[start : start + _CHUNK_BYTES])
    return digest.hexdigest()


def _arrays(learned: Learned, precision: Precision) -> tuple[dict[str, NDArray[Any]], float]:
    """The files' arrays, and the scale."""
    pins, factors = learned.pins, learned.factors
    if factors.ndim != 2 or factors.shape[0] != pins.size or not pins.size:
        raise BadRequest(f"factors of shape {factors.shape} do not fit {pins.size} pins")
    if not 1 <= factors.shape[1] <= DIM_MAX or pins.size > PINS_MAX:
        raise BadRequest(f"factors of shape {factors.shape}: at most {PINS_MAX:,} pins of {DIM_MAX} numbers")
    order = np.argsort(pins)
    ids = np.ascontiguousarray(pins[order])
    if ids[0] == 0 or not (ids[1:] > ids[:-1]).all():
        raise BadRequest("pins of factors must be distinct, and not 0")
    if not (np.isfinite(learned.alpha) and learned.alpha >= 0):
        raise BadRequest(f"alpha is {learned.alpha}: it must be 0 or more")
    space = folded_space(factors[order], regularisation=learned.regularisation)
    if precision == "float32":
        return {PINS: ids, "factors.f32": space}, 1.0
    greatest = float(np.abs(space).max())
    scale = 2.0 ** np.floor(np.log2(_HALF_TOP / greatest)) if greatest > 0 else 1.0
    return {PINS: ids, "factors.f16": (space * np.float32(scale)).astype("<f2")}, float(scale)


def _write(path: Path, data: memoryview) -> FileEntry:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return FileEntry(len(data), _digest(data))


def _sync_folder(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
