"""The demo from an empty folder, and again: real processes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def demo(folder: Path) -> str:
    """What `feedmesh demo --once` prints."""
    command = [sys.executable, "-m", "services.cli", "demo", "--once", "--scale", "0.1"]
    done = subprocess.run(
        [*command, "--data-dir", str(folder)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "100", "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.mesh
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("mesh-demo")
def test_the_demo_trains_shows_and_comes_again(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    first = demo(folder)
    assert "are simulated" in first
    assert "promoted" in first
    by_model, by_light, by_newest = fits(first)
    assert by_model > max(by_light, by_newest), first
    before, after = moved(first)
    assert after > before, first
    for feed in ("home", "following", "interest", "picked_for_you"):
        assert re.search(rf"^{feed}  ", first, re.MULTILINE), first
    # In a world so small the saved pins may be on nobody else's board; they weigh beside the others then.
    (stayed,) = numbers(r"before;\s+(\d+)\s+stayed", first)
    assert stayed < 20, "the action changes what is picked"
    hidden, _, left = numbers(r"(\d+)\s+of\s+(\d+)\s+items\s+of\s+home\s+before,\s+(\d+)\s+after", first)
    assert hidden > left == 0
    wall = (folder / "wall.html").read_text()
    assert "the audience is simulated" in wall.replace("\n", " ")
    again = demo(folder)
    assert "published" not in again, "the world was there already"
    assert "promoted" not in again
    assert fits(again)[0] > 0


def fits(printed: str) -> list[int]:
    """Pins that fit the taste: by model, light score, newest first."""
    told = printed[printed.index("fit the taste") :]
    return [int(count) for count in re.findall(r"(\d+)\s+of\s+20", told)[:3]]


def numbers(pattern: str, printed: str) -> list[int]:
    """The numbers of what was printed."""
    found = re.search(pattern, printed)
    assert found, printed
    return [int(number) for number in found.groups()]


def moved(printed: str) -> tuple[int, int]:
    """Pins of the act's subject on the first page, before and after."""
    found = re.search(r"(\d+)\s+before,\s+(\d+)\s+after", printed)
    assert found, printed
    return int(found[1]), int(found[2])
