"""The compiled peers: an environment of its own for each, and what it makes of the model, once.

    build/bench/compiled/<side>/venv        made when it is absent, from the package index
    build/bench/compiled/<side>/<digest>/   the compiled or converted model, and how long that took

A peer that cannot be installed, or that cannot compile, is absent with a reason: the others are measured
all the same.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.compiled.material import Material
from tests.bench.heavy_mesh import TREES

SIDE_SCRIPT: Final = Path(__file__).with_name("side.py")
_PREPARE_S_MAX: Final = 3_600
_MEASURE_S_MAX: Final = 300

PACKAGES: Final[Mapping[str, Sequence[str]]] = {
    # lleaves emits IR that newer LLVMs refuse.
    "lleaves": ("lleaves==1.3.0", "llvmlite==0.44.0", "numpy<3"),
    # tl2cgen 1.0 has a treelite 4.1 inside, and reads what that one writes.
    "tl2cgen": ("tl2cgen==1.0.0", "treelite==4.1.2", "numpy<3"),
    "onnxruntime": ("onnxruntime==1.32.0", "onnxmltools==1.16.0", "lightgbm==4.7.0", "numpy<3"),
}
"""By side of `side.py`."""


class PeerAbsent(Exception):
    """The peer cannot be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A side that can be measured."""

    side: str
    python: str
    folder: Path
    prepare_s: float = 0.0
    """What compiling or converting took, in the run that did it; 0: nothing is to be made."""

    def measure(self, material: Material) -> dict[str, float]:
        """One process: what `side.py` prints."""
        return _run_side("measure", self, material, timeout_s=_MEASURE_S_MAX)


def own(side: str) -> Prepared:
    """A side of this environment."""
    return Prepared(side, sys.executable, Path())


def prepared(side: str, root: Path, material: Material, say: Callable[[str], None]) -> Prepared:
    """The peer, installed and with its model compiled. Raises PeerAbsent."""
    python = _installed(root / side, PACKAGES[side], say)
    digest = hashlib.sha256(material.model(TREES).read_bytes() + SIDE_SCRIPT.read_bytes()).hexdigest()[:16]
    folder = root / side / digest
    took = folder / "prepared.json"
    peer = Prepared(side, python, folder)
    if not took.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        say(f"{side}: making its model of ours (once; with lleaves several minutes)")
        figures = _run_side("prepare", peer, material, timeout_s=_PREPARE_S_MAX)
        took.write_text(json.dumps(figures))
    return Prepared(side, python, folder, json.loads(took.read_text())["prepare_s"])


def _installed(folder: Path, packages: Sequence[str], say: Callable[[str], None]) -> str:
    """The environment's interpreter. A path that is not resolved: it would be the one it was made from."""
    python = str((folder / "venv/bin/python").absolute())
    stamp = folder / "venv/packages"
    if stamp.exists() and stamp.read_text() == "\n".join(packages):
        return python
    say(f"{folder.name}: installing {', '.join(packages)} (once)")
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder / "venv")], timeout_s=300)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    _run([*pip, *packages], timeout_s=900)
    stamp.write_text("\n".join(packages))
    return python


def _run_side(step: str, side: Prepared, material: Material, *, timeout_s: float) -> dict[str, float]:
    files = (material.model(TREES), material.rows, material.scores(TREES), side.folder)
    command = [side.python, str(SIDE_SCRIPT), step, side.side, *map(str, files)]
    # Compilers and libraries print before it.
    figures: dict[str, float] = json.loads(_run(command, timeout_s=timeout_s).splitlines()[-1])
    return figures


def _run(command: Sequence[str], *, timeout_s: float) -> str:
    try:
        ended: Any = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise PeerAbsent(str(fault)) from fault
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or ["it said nothing"]
        raise PeerAbsent(said[-1][:300])
    return str(ended.stdout)
