"""All sides, process by process in turn: what changes on the machine meets every one of them.

A figure is the median over the rounds of what each process found.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tests.bench.compiled.material import Material
from tests.bench.compiled.peers import Prepared
from tests.bench.compiled.turns import AVX2_ONLY, Turns

ROUNDS: Final = 5
_TURNS_S_MAX: Final = 600
"""The first process with other vector units compiles for a minute."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """What was found."""

    turns: Mapping[str, Sequence[Turns]]
    """By vector unit, for each count of trees."""
    sides: Mapping[str, Mapping[str, float]]
    """By side, the figures of `side.py`."""


def measure(material: Material, sides: Sequence[Prepared], root: Path) -> Rounds:
    """Every process, `ROUNDS` times, after one that is not counted: caches of compiled kernels are warm."""
    units: dict[str, dict[str, str]] = {"": {}}
    if platform.machine() == "x86_64":
        # A cache of its own, so that neither kind of process finds, or replaces, the other's kernels.
        units["AVX2 only"] = {**AVX2_ONLY, "NUMBA_CACHE_DIR": str((root / "numba-avx2").absolute())}
    for environment in units.values():
        _turns(material, environment)
    turns: dict[str, list[list[Turns]]] = {unit: [] for unit in units}
    found: dict[str, list[dict[str, float]]] = {side.side: [] for side in sides}
    for _ in range(ROUNDS):
        for unit, environment in units.items():
            turns[unit].append(_turns(material, environment))
        for side in sides:
            found[side.side].append(side.measure(material))
    return Rounds(
        turns={
            unit: [_median_turns(same) for same in zip(*all_, strict=True)] for unit, all_ in turns.items()
        },
        sides={side: _median(all_) for side, all_ in found.items()},
    )


def _turns(material: Material, environment: Mapping[str, str]) -> list[Turns]:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.bench.compiled.turns", str(material.folder)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        timeout=_TURNS_S_MAX,
        check=True,
    )
    return [Turns(**turns) for turns in json.loads(ended.stdout)]


def _median_turns(same: Sequence[Turns]) -> Turns:
    return Turns(
        trees=same[0].trees,
        lanes=same[0].lanes,
        ms=_median([turns.ms for turns in same]),
        fastest_ms={side: min(turns.fastest_ms[side] for turns in same) for side in same[0].fastest_ms},
        difference=max(turns.difference for turns in same),
    )


def _median(all_: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.median([one[name] for one in all_])) for name in all_[0]}
