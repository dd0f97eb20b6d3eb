"""The directory of models: what lies in it, written whole or not at all.

    models/
    ├── serving              the name of the serving model, one line
    ├── 2024-05-01/
    │   ├── model.txt        LightGBM's text
    │   ├── card.json        what it was trained on and how it did; digests of its features; sha256
    │   └── sample.npz       `rows` (in the model's columns) and the `raw` scores that they must give
    └── .2024-05-02.xxxx/    being written: names with a dot are not models

Training writes here (`write_model`, `promote`), serving reads (`models.py`). A model is written beside its
place and renamed into it, so a reader sees all of its files or none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import BadRequest, NotFound

MODEL: Final = "model.txt"
CARD: Final = "card.json"
SAMPLE: Final = "sample.npz"
SERVING: Final = "serving"

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
"""What a model may be called: a folder's name that is safe in a path, a log and a metric."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Recorded rows, float32 (row, feature of the model), and their raw scores, float64 (row,)."""

    rows: NDArray[np.float32]
    raw: NDArray[np.float64]


def write_model(directory: Path, name: str, model_text: str, card: Mapping[str, Any], sample: Sample) -> Path:
    """Write a new model and return its folder; the card gets the name and the sha256 of the text.

    A name that is taken is refused: models are versions, and one that serves must not change.
    """
    if not NAME.fullmatch(name) or name == SERVING:
        raise BadRequest(f"{name!r} cannot be a model's name: letters, digits, _ . and -, at most 64")
    target = directory / name
    if target.exists():
        raise BadRequest(f"model {name} exists; give the new one another name")
    directory.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=directory))
    try:
        whole = {**card, "name": name, "sha256": sha256(model_text)}
        _write(beside / MODEL, model_text.encode())
        _write(beside / CARD, (json.dumps(whole, indent=2) + "\n").encode())
        np.savez(beside / SAMPLE, rows=sample.rows, raw=sample.raw)
        # mkdtemp makes it for its owner alone; the one who serves may be another user.
        beside.chmod(0o755)
        # A folder that is there after all, and not empty, makes this fail: two trainings, one name.
        beside.rename(target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    _sync_folder(directory)
    return target


def promote(directory: Path, name: str) -> None:
    """Make `name` the serving model. Raises NotFound when the directory has no such model."""
    if not NAME.fullmatch(name) or not (directory / name / MODEL).is_file():
        raise NotFound(f"no model {name!r} in {directory}")
    beside = directory / f".{SERVING}.{os.getpid()}"
    _write(beside, f"{name}\n".encode())
    beside.replace(directory / SERVING)
    _sync_folder(directory)


def read_serving(directory: Path) -> str:
    """The name in the pointer; empty when there is no pointer."""
    try:
        return (directory / SERVING).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def read_sample(path: Path) -> Sample:
    """The sample. Raises ValueError, KeyError or OSError on a file that is none."""
    with np.load(path, allow_pickle=False) as arrays:
        rows = np.ascontiguousarray(arrays["rows"], dtype=np.float32)
        raw = np.ascontiguousarray(arrays["raw"], dtype=np.float64)
    if rows.ndim != 2 or raw.shape != (rows.shape[0],):
        raise ValueError(f"rows of shape {rows.shape} do not fit scores of shape {raw.shape}")
    return Sample(rows=rows, raw=raw)


def sha256(model_text: str) -> str:
    """What the card holds of the model's text."""
    return hashlib.sha256(model_text.encode()).hexdigest()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
