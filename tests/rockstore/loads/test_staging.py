"""Claims about staging: what does not fit is refused, and a host that is killed keeps what is answered."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.chassis.errors import CorruptValue
from services.chassis.shards.owned import OwnedShards
from services.rockstore.loads.prepared import BadLoad
from services.rockstore.schema import Kind
from tests.rockstore.loads.made import SCHEMA, answers, loaded, prepared, spec, staged
from tests.rockstore.records import Rockstore, open_rockstore


def left_over(rockstore: Rockstore) -> list[str]:
    return [child.name for child in rockstore.parts.generations.folder(Kind.PIN).path.iterdir()]


@pytest.mark.parametrize(
    ("of", "says"),
    [
        pytest.param(
            spec(schema=replace(SCHEMA, version=9)),
            "schema version 9; declared are .1.",
            id="unknown version",
        ),
        pytest.param(spec(schema=replace(SCHEMA, kind=Kind.USER)), "declared are ..", id="kind without rows"),
        pytest.param(spec(num_shards=64), "prepared for 64 hashed shards", id="other sharding"),
    ],
)
def test_a_load_that_does_not_fit_the_host_is_refused(
    pins: Rockstore, tmp_path: Path, of: object, says: str
) -> None:
    prepared(tmp_path / "load", {1: 10.0}, of)  # type: ignore[arg-type]
    with pytest.raises(BadLoad, match=says):
        staged(pins, tmp_path / "load")
    assert left_over(pins) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"feature_count": 2}, "rows of 2 features", id="other width"),
        pytest.param({"kind": 9}, "kind 9, which there is not", id="unknown kind"),
        pytest.param({"version": -1}, "numbers that are none", id="a negative version"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(
    pins: Rockstore, tmp_path: Path, change: dict[str, int], says: str
) -> None:
    manifest = prepared(tmp_path / "load", {1: 10.0})
    replace(manifest, **change).write(tmp_path / "load")  # type: ignore[arg-type]
    with pytest.raises(BadLoad, match=says):
        staged(pins, tmp_path / "load")


def test_a_missing_or_cut_off_file_is_refused(pins: Rockstore, tmp_path: Path) -> None:
    path = tmp_path / "load" / prepared(tmp_path / "load", {1: 10.0}).files[0].name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadLoad, match="is missing, or not"):
        staged(pins, tmp_path / "load")
    path.unlink()
    with pytest.raises(BadLoad, match="is missing, or not"):
        staged(pins, tmp_path / "load")
    with pytest.raises(BadLoad, match="no prepared load"):
        staged(pins, tmp_path / "nowhere")


def test_a_file_that_is_no_table_leaves_nothing_behind(pins: Rockstore, tmp_path: Path) -> None:
    loaded(pins, tmp_path / "good", {1: 9.0})
    folder = tmp_path / "load"
    manifest = prepared(folder, {1: 10.0})
    (folder / manifest.files[0].name).write_bytes(b"x" * manifest.files[0].size_bytes)
    with pytest.raises(CorruptValue):
        staged(pins, folder)
    assert sorted(left_over(pins)) == ["000001", "live.json"]
    assert answers(pins, 1) == [9]


def test_a_host_takes_the_files_of_its_own_shards(tmp_path: Path) -> None:
    ids = list(range(1, 100))
    everything = OwnedShards.everything(8)
    owned = OwnedShards(8, np.arange(8) == everything.shard_of(ids[0]))
    rockstore = open_rockstore(tmp_path / "host", schemas=[SCHEMA], owned=owned)
    loaded(rockstore, tmp_path / "load", dict.fromkeys(ids, 1.0))
    mine = [id for id in ids if owned.owns_one(id)]
    assert set(answers(rockstore, *mine)) == {1}
    stats = rockstore.parts.generations._kinds[Kind.PIN].open[1].store.family_stats()
    assert stats["rows"]["keys_estimated"] == len(mine)
    rockstore.close()


def test_a_host_without_rows_of_the_load_swaps_as_well(tmp_path: Path) -> None:
    everything = OwnedShards.everything(8)
    owned = OwnedShards(8, np.arange(8) != everything.shard_of(1))
    rockstore = open_rockstore(tmp_path / "host", schemas=[SCHEMA], owned=owned)
    assert loaded(rockstore, tmp_path / "load", {1: 1.0}) == 1
    assert rockstore.parts.generations.live_number(Kind.PIN) == 1
    rockstore.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from services.rockstore.loads import staging
from services.rockstore.loads.generation_files import GenerationFolder
from services.rockstore.schema import Kind
from tests.rockstore.loads.made import SCHEMA, staged
from tests.rockstore.records import open_rockstore

host, load, where = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def die(*_args, **_fields):
    os.kill(os.getpid(), signal.SIGKILL)

def dying_after(method):
    def run(*args, **fields):
        method(*args, **fields)
        die()
    return run

if where == "while files are copied":
    staging.copy_checked = die
elif where == "before it has its name":
    GenerationFolder.complete = die
elif where == "when it has its name":
    GenerationFolder.complete = dying_after(GenerationFolder.complete)
elif where == "before the swap":
    GenerationFolder.write = die
elif where == "right after the swap":
    GenerationFolder.write = dying_after(GenerationFolder.write)
elif where == "while an old one is dropped":
    GenerationFolder.drop = die
rockstore = open_rockstore(host, schemas=[SCHEMA])
rockstore.parts.generations._kept_max = 1
number = staged(rockstore, load)
rockstore.parts.generations.activate(Kind.PIN, number)
"""


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("while files are copied", 2.0),
        ("before it has its name", 2.0),
        ("when it has its name", 2.0),
        ("before the swap", 2.0),
        ("right after the swap", 3.0),
        ("while an old one is dropped", 3.0),
    ],
)
def test_a_host_that_is_killed_answers_the_old_load_or_the_new_one(
    tmp_path: Path, where: str, expected: float
) -> None:
    ids = list(range(1, 50))
    rockstore = open_rockstore(tmp_path / "host", schemas=[SCHEMA])
    loaded(rockstore, tmp_path / "first", dict.fromkeys(ids, 1.0))
    loaded(rockstore, tmp_path / "second", dict.fromkeys(ids, 2.0))
    rockstore.close()
    prepared(tmp_path / "third", dict.fromkeys(ids, 3.0))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "host"), str(tmp_path / "third"), where]
    assert subprocess.run(command, timeout=120, check=False).returncode == -signal.SIGKILL
    rockstore = open_rockstore(tmp_path / "host", schemas=[SCHEMA])
    assert set(answers(rockstore, *ids)) == {expected}
    # And goes on as if nothing had happened.
    loaded(rockstore, tmp_path / "fourth", dict.fromkeys(ids, 4.0))
    assert set(answers(rockstore, *ids)) == {4}
    assert not [name for name in left_over(rockstore) if name.endswith((".loading", ".dropped"))]
    rockstore.parts.generations.roll_back(Kind.PIN)
    assert set(answers(rockstore, *ids)) == {expected}
    rockstore.close()
