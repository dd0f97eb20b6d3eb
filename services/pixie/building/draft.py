"""The folder that a build works in: it becomes a version whole, or goes.

    graphs/.build.lock          held while a build runs, so there is one at a time, and released by the system
                                however the process ends
    graphs/.building-<version>/ the files of the version, named as they will be
                     spill/     what only the build needs

Whatever stands there when a build begins was left by one that was killed, since the lock is ours: it goes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.chassis.errors import BadRequest
from services.pixie.building.array_files import disk_faults
from services.pixie.graph_files import DROPPED, NAME, Manifest, complete, version_names

_LOCK: Final = ".build.lock"
_BUILDING: Final = ".building-"


class BuildRunning(BadRequest):
    """Another build works in this folder."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A version that is being made."""

    graphs_dir: Path
    version: str

    @property
    def folder(self) -> Path:
        """Where the version's files are written."""
        return self.graphs_dir / f"{_BUILDING}{self.version}"

    @property
    def spill(self) -> Path:
        """For what goes before the version is complete."""
        return self.folder / "spill"

    def complete(self, manifest: Manifest) -> Path:
        """Make it a version; its folder. Raises DiskFull."""
        shutil.rmtree(self.spill)
        with disk_faults(self.folder):
            return complete(self.folder, self.graphs_dir, manifest)


@contextmanager
def begun(graphs_dir: Path, *, now_ms: int, suffix: str = "") -> Iterator[Draft]:
    """A draft, named after `now_ms`, that is gone at the end unless it was completed.

    Raises:
        BuildRunning: another build works in the folder.
        BadRequest: the suffix cannot be part of a name, or a version that is there would be the newer one.
    """
    with disk_faults(graphs_dir):
        graphs_dir.mkdir(parents=True, exist_ok=True)
    with _locked(graphs_dir):
        for left in (*graphs_dir.glob(f"{_BUILDING}*"), *graphs_dir.glob(f"{DROPPED}*")):
            shutil.rmtree(left, ignore_errors=True)
        draft = Draft(graphs_dir, _version(graphs_dir, now_ms, suffix))
        try:
            with disk_faults(graphs_dir):
                draft.spill.mkdir(parents=True)
            yield draft
        finally:
            shutil.rmtree(draft.folder, ignore_errors=True)


def _version(graphs_dir: Path, now_ms: int, suffix: str) -> str:
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now_ms // 1000))
    name = f"{stamp}-{suffix}" if suffix else stamp
    if NAME.fullmatch(name) is None:
        raise BadRequest(f"{suffix!r} cannot end a version's name: letters, digits, _ . and -, at most 39")
    names = version_names(graphs_dir)
    if names and names[-1] >= name:
        raise BadRequest(
            f"{graphs_dir} has version {names[-1]}, which would go before {name}: the clock is behind it, or "
            "a build ended within this second; build again, or remove that version",
            version=names[-1],
        )
    return name


@contextmanager
def _locked(graphs_dir: Path) -> Iterator[None]:
    handle = os.open(graphs_dir / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BuildRunning(
                f"another build works in {graphs_dir}: wait for it, or build elsewhere with --out",
                path=graphs_dir,
            ) from error
        yield
    finally:
        os.close(handle)
