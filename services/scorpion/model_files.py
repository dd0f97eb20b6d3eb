"""The directory of models: what lies in it, written whole or not at all.

    models/
    ├── serving              the name of the serving model, one line
    ├── serving_history      which models the pointer named, and since when: JSON, the oldest first
    ├── 2024-05-01/
    │   ├── model.txt        LightGBM's text
    │   ├── card.json        what it was trained on and how it did; digests of its features; sha256
    │   └── sample.npz       `rows` (in the model's columns) and the `raw` scores that they must give
    └── .2024-05-02.xxxx/    being written: names with a dot are not models

Training writes here (`write_model`, `promote`), `feedmesh models` moves the pointer (`promote`, `roll_back`),
serving reads (`models.py`). A model is written beside its place and renamed into it, so a reader sees all of
its files or none. The history is written before the pointer; where a crash, or a hand, left the two apart,
the pointer is right (`read_history`). Two writers at one moment may cost the history an entry.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.clock import SystemClock
from services.chassis.errors import BadRequest, CorruptValue, NotFound

MODEL: Final = "model.txt"
CARD: Final = "card.json"
SAMPLE: Final = "sample.npz"
SERVING: Final = "serving"
HISTORY: Final = "serving_history"
HISTORY_MAX: Final = 200
"""Entries kept; a rollback reaches no further."""

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
"""What a model may be called: a folder's name that is safe in a path, a log and a metric."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Recorded rows, float32 (row, feature of the model), and their raw scores, float64 (row,)."""

    rows: NDArray[np.float32]
    raw: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pointed:
    """One move of the pointer."""

    name: str
    at_ms: int
    """Milliseconds since 1970; 0: not known, as the pointer was moved by a hand."""
    back: bool = False
    """Whether it was a rollback: the model before it is not what another rollback leads to."""


def check_name(name: str) -> None:
    """Raises BadRequest unless a model may be called so."""
    if not NAME.fullmatch(name) or name in (SERVING, HISTORY):
        raise BadRequest(f"{name!r} cannot be a model's name: letters, digits, _ . and -, at most 64")


def write_model(directory: Path, name: str, model_text: str, card: Mapping[str, Any], sample: Sample) -> Path:
    """Write a new model and return its folder; the card gets the name and the sha256 of the text.

    A name that is taken is refused: models are versions, and one that serves must not change.
    """
    check_name(name)
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
    _point(directory, name, back=False)


def roll_back(directory: Path) -> str:
    """Make the model that served before the present one serve; its name.

    Raises BadRequest when none did, NotFound when it is not in the directory any more.
    """
    name = previous(read_history(directory))
    if not name:
        raise BadRequest(f"no model served before the present one in {directory}; see feedmesh models list")
    _point(directory, name, back=True)
    return name


def rewrite_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Put the card in place of the one that is there, whole or not at all. Scorpion reads the model again."""
    _replace(folder, CARD, json.dumps(card, indent=2) + "\n")


def model_names(directory: Path) -> list[str]:
    """Folders that look like models, by name, as Scorpion sees them; none when there is no directory."""
    if not directory.is_dir():
        return []
    return sorted(
        entry.name for entry in directory.iterdir() if NAME.fullmatch(entry.name) and entry.is_dir()
    )


def read_history(directory: Path) -> list[Pointed]:
    """Moves of the pointer, the oldest first; the last one is what the pointer names, if it names any.

    Raises CorruptValue on a file that is no history.
    """
    serving = read_serving(directory)
    try:
        entries = json.loads((directory / HISTORY).read_text(encoding="utf-8"))
        history = [Pointed(entry["name"], int(entry["at_ms"]), bool(entry["back"])) for entry in entries]
    except FileNotFoundError:
        history = []
    except (ValueError, KeyError, TypeError) as fault:
        raise CorruptValue(f"{directory / HISTORY} cannot be read ({fault}); move it away") from fault
    # The last one may never have come into force: the history is written first.
    if serving and history and history[-1].name != serving and _name_at(history, -2) == serving:
        history.pop()
    if serving and _name_at(history, -1) != serving:
        history.append(Pointed(serving, 0))
    return history


def previous(history: list[Pointed]) -> str:
    """The model that a rollback leads to; empty: none."""
    served: list[str] = []
    for entry in history:
        if entry.back and entry.name in served:
            # What came after it was taken back.
            del served[len(served) - served[::-1].index(entry.name) :]
        elif not served or served[-1] != entry.name:
            served.append(entry.name)
    return served[-2] if len(served) > 1 else ""


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


def _point(directory: Path, name: str, *, back: bool) -> None:
    if not NAME.fullmatch(name) or not (directory / name / MODEL).is_file():
        raise NotFound(f"no model {name!r} in {directory}")
    history = [*read_history(directory), Pointed(name, SystemClock().now_ms(), back)][-HISTORY_MAX:]
    _replace(directory, HISTORY, json.dumps([asdict(entry) for entry in history], indent=1) + "\n")
    _replace(directory, SERVING, f"{name}\n")


def _name_at(history: list[Pointed], place: int) -> str:
    return history[place].name if len(history) >= -place else ""


def _replace(directory: Path, name: str, text: str) -> None:
    """The file as a whole, or as it was."""
    beside = directory / f".{name}.{os.getpid()}"
    _write(beside, text.encode())
    beside.replace(directory / name)
    _sync_folder(directory)


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
