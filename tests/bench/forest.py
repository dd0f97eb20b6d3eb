"""`forest`: 1,000 rows × 64 features, 500 trees of 63 leaves, one thread; LightGBM and compiled trees beside.

*Rows cached* is what Scorpion does in a request, in this process: bytes of cached rows into blocks, blocks
through the trees (`compiled/turns.py`). *From a matrix* is what the peers do: floats in, scores out. Both are
given beside each peer, because only a forest that scores bins can keep them. LightGBM is measured in the same
process, call by call in turn; the compiled ones (lleaves, tl2cgen, onnxruntime) and the loading each in a
fresh process, process by process in turn (`compiled/rounds.py`), as they need environments of their own. Once
more with AVX2 only, for machines without AVX-512. The first run installs and compiles the peers: lleaves
alone takes minutes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from rich.console import Console

from tests.bench.compiled.material import ROWS, prepare
from tests.bench.compiled.peers import PACKAGES, PeerAbsent, Prepared, own, prepared
from tests.bench.compiled.rounds import ROUNDS, Rounds, measure
from tests.bench.compiled.turns import CACHED, TURNS, Turns
from tests.bench.heavy_mesh import LEAVES, TREES
from tests.bench.processes import machine
from tests.bench.report import Row, beside

DIFFERENCE_MAX: Final = 1e-5
_LIGHTGBM: Final = "LightGBM predict"


def run() -> tuple[list[Row], list[str]]:
    root = Path(os.environ.get("FEEDMESH_BENCH_DIR", "build/bench")) / "compiled"
    material = prepare(root / "material")
    sides = [own("ours"), own("LightGBM")]
    notes = [machine(), f"{ROWS:,} rows, {LEAVES} leaves a tree; {ROUNDS} rounds of {TURNS} calls in turn"]
    for name in PACKAGES:
        try:
            peer = prepared(name, root, material, Console().print)
            # Once before it counts: one that was compiled and does not run is absent, too.
            peer.measure(material)
            sides.append(peer)
        except PeerAbsent as reason:
            notes.append(f"without {name}: {reason}")
    rounds = measure(material, sides, root)
    _check(rounds)
    rows = [
        *(row for unit, all_ in rounds.turns.items() for turns in all_ for row in _turn_rows(unit, turns)),
        *_peer_rows(rounds),
        *_load_rows(rounds, sides),
    ]
    return rows, notes + _notes(rounds)


def _turn_rows(unit: str, turns: Turns) -> list[Row]:
    """Ours beside LightGBM's predict in the same process."""
    name = f"{turns.trees} trees" + (f", {unit}" if unit else "")
    whats = {"scorer": "rows cached", "matrix": "from a matrix", "trees": "the trees alone"}
    return [
        beside(
            f"{name}, {what}",
            turns.ms[side],
            "ms",
            peer=_LIGHTGBM,
            peer_value=turns.ms["lightgbm"],
            more_is_better=False,
        )
        for side, what in whats.items()
    ]


def _peer_rows(rounds: Rounds) -> list[Row]:
    """Ours beside each compiled peer, process by process."""
    [cached_ms] = [turns.ms["scorer"] for turns in rounds.turns[""] if turns.trees == TREES]
    matrix_ms = rounds.sides["ours"]["ms"]
    return [
        beside(
            f"{TREES} trees, {what}", ours, "ms", peer=peer, peer_value=figures["ms"], more_is_better=False
        )
        for peer, figures in rounds.sides.items()
        if peer in PACKAGES
        for what, ours in (("rows cached", cached_ms), ("from a matrix, fresh process", matrix_ms))
    ]


def _load_rows(rounds: Rounds, sides: list[Prepared]) -> list[Row]:
    """From a model that is there (compiled, where it is to be) to the first scores, imports not counted."""
    ours = rounds.sides["ours"]
    rows = [Row("loaded, fresh process, kernels in numba's cache", ours["load_s"], "s")]
    for side in sides:
        if side.side == "ours":
            continue
        theirs = rounds.sides[side.side]["first_s"]
        name = "loaded and first scores"
        rows.append(
            beside(name, ours["first_s"], "s", peer=side.side, peer_value=theirs, more_is_better=False)
        )
        if side.prepare_s:
            rows.append(Row(f"{side.side} compiled or converted, once for each model", side.prepare_s, "s"))
    return rows


def _check(rounds: Rounds) -> None:
    """Raises AssertionError when ours are not LightGBM's scores; a peer's difference is in the notes."""
    worst = max(turns.difference for all_ in rounds.turns.values() for turns in all_)
    worst = max(worst, rounds.sides["ours"]["difference"])
    if not worst <= DIFFERENCE_MAX:
        raise AssertionError(f"scores differ from LightGBM's by {worst:.3g}")


def _notes(rounds: Rounds) -> list[str]:
    notes = [
        f"rows cached: {CACHED:,} in the slab, every request another {ROWS:,} of them",
        "largest difference to LightGBM's raw scores: "
        + ", ".join(
            [
                f"ours {max(turns.difference for all_ in rounds.turns.values() for turns in all_):.1g}",
                *(
                    f"{peer} {rounds.sides[peer]['difference']:.1g}"
                    for peer in PACKAGES
                    if peer in rounds.sides
                ),
            ]
        ),
        "imports, not counted in loading: "
        + ", ".join(f"{side} {figures['import_s']:.2f} s" for side, figures in rounds.sides.items()),
    ]
    for unit, all_ in rounds.turns.items():
        for turns in all_:
            ratio = turns.fastest_ms["lightgbm"] / turns.fastest_ms["scorer"]
            notes.append(
                f"fastest calls, {turns.trees} trees, {unit or 'all vector units'}, "
                f"{turns.lanes} rows at once: rows cached {turns.fastest_ms['scorer']:.2f} ms, {_LIGHTGBM} "
                f"{turns.fastest_ms['lightgbm']:.1f} ms: {ratio:.0f}×"
            )
    return notes
