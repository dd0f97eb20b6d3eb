"""A version is written whole or not at all, and what is damaged is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.chassis.errors import BadRequest
from services.scorpion.factors import Factors, files
from services.scorpion.factors.files import BadFactors, Manifest, versions_of
from tests.scorpion.factors.small import learned, write_version


def test_a_version_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = write_version(tmp_path, learned([30, 10, 20]))
    manifest = Manifest.read(folder)
    assert (manifest.name, manifest.version, manifest.pin_count, manifest.dim) == ("saves", "v1", 3, 6)
    assert (manifest.alpha, manifest.regularisation, manifest.learned) == (8.0, 0.5, {"seed": 5})
    assert len(Factors.open(folder)) == 3
    assert np.fromfile(folder / files.PINS, np.uint64).tolist() == [10, 20, 30]
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "pins.u64", "factors.f32"}


def test_the_order_in_which_pins_were_learned_says_nothing(tmp_path: Path) -> None:
    of = learned([30, 10, 20])
    order = np.array([1, 2, 0])
    turned = replace(of, pins=of.pins[order], factors=of.factors[order])
    one, other = (write_version(tmp_path, x, version=f"v{n}") for n, x in enumerate((of, turned)))
    assert (one / "factors.f32").read_bytes() == (other / "factors.f32").read_bytes()


def test_a_version_never_changes(tmp_path: Path) -> None:
    folder = write_version(tmp_path, learned([1, 2]))
    before = (folder / "factors.f32").read_bytes()
    with pytest.raises(BadRequest, match="exist"):
        write_version(tmp_path, learned([1, 3]))
    assert (folder / "factors.f32").read_bytes() == before


def test_a_writing_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: memoryview) -> files.FileEntry:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_write", full)
    with pytest.raises(OSError, match="No space"):
        write_version(tmp_path, learned([1, 2]))
    assert list((tmp_path / "saves").iterdir()) == []


def test_versions_are_listed_and_what_is_being_written_is_none(tmp_path: Path) -> None:
    for version in ("20261201T000000", "20261128T000000"):
        write_version(tmp_path, learned([1, 2]), version=version)
    (tmp_path / "saves" / ".20261202T000000.x").mkdir()
    (tmp_path / "saves" / "note").write_text("")
    assert versions_of(tmp_path, "saves") == ["20261128T000000", "20261201T000000"]
    assert versions_of(tmp_path, "clicks") == []


def _edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return damage


def _manifest(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(_edit("factors.f32", lambda data: data[:-4]), r"factors\.f32", id="cut off"),
        pytest.param(_edit("factors.f32", lambda data: b"\1" + data[1:]), "checksum", id="another byte"),
        pytest.param(_edit("pins.u64", lambda data: data[8:] + data[:8]), r"pins\.u64", id="other order"),
        pytest.param(lambda folder: (folder / "pins.u64").unlink(), r"pins\.u64", id="file gone"),
        pytest.param(lambda folder: (folder / "manifest.json").unlink(), "manifest", id="no manifest"),
        pytest.param(_edit("manifest.json", lambda data: data[:-20]), "manifest", id="half a manifest"),
        pytest.param(_manifest(format=9), "another format", id="later format"),
        pytest.param(_manifest(dim=5), "3 pins do not make", id="other dimension"),
        pytest.param(_manifest(dim=0), "cannot be", id="no dimension"),
        pytest.param(_manifest(alpha=float("nan")), "cannot be", id="alpha of NaN"),
        pytest.param(_manifest(files=3), "manifest", id="nonsense"),
        pytest.param(lambda folder: folder.rename(folder.with_name("v9")), "v9", id="moved"),
    ],
)
def test_a_damaged_version_is_refused_by_name(
    tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    folder = write_version(tmp_path, learned([1, 2, 3]))
    damage(folder)
    with pytest.raises(BadFactors, match=says):
        Factors.open(folder if folder.exists() else folder.with_name("v9"))


def test_what_cannot_be_factors_is_refused_before_it_is_written(tmp_path: Path) -> None:
    sound = learned([1, 2, 3])
    broken = sound.factors.copy()
    broken[1, 1] = np.nan
    for of, says in (
        (replace(sound, pins=np.array([1, 1, 2], np.uint64)), "distinct"),
        (replace(sound, pins=np.array([0, 1, 2], np.uint64)), "not 0"),
        (replace(sound, pins=np.array([1, 2], np.uint64)), "do not fit"),
        (replace(sound, factors=broken), "NaN"),
        (replace(sound, factors=np.zeros((3, 257), np.float32)), "at most"),
        (replace(sound, regularisation=0.0), "greater than 0"),
        (replace(sound, alpha=-1.0), "alpha"),
    ):
        with pytest.raises(BadRequest, match=says):
            write_version(tmp_path, of)
    with pytest.raises(BadRequest, match="name and version"):
        write_version(tmp_path, sound, version="../v1")
    assert not (tmp_path / "saves").exists()
