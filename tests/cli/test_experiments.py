"""`feedmesh experiments`: the file as people see it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.cli.experiments import experiments_app
from services.cli.faults import UsageFault

GAP = """
[[experiment]]
name = "gap"
dial = 40
feeds = ["home"]
force = { 42 = "wide", 43 = "control" }
[[experiment.arm]]
name = "control"
weight = 3
[[experiment.arm]]
name = "wide"
[experiment.arm.set]
"select.board_gap" = 6
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = tmp_path / "experiments.toml"
    written.write_text(GAP, encoding="utf-8")
    return written


def run(*words: str) -> Result:
    return CliRunner().invoke(experiments_app, list(words), env={"COLUMNS": "140"})


def test_check_shows_each_arm_and_its_share_of_all(file: Path) -> None:
    shown = run("check", str(file))
    assert shown.exit_code == 0
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert ["gap", "40%", "home", "control", "30%", "nothing"] in rows
    assert ["wide", "10%", "select.board_gap", "=", "6"] in rows


def test_check_says_every_fault(file: Path) -> None:
    file.write_text(GAP.replace("board_gap", "bord_gap").replace("42 =", "x ="), encoding="utf-8")
    failed = run("check", str(file))
    assert isinstance(failed.exception, UsageFault)
    assert "force.x: is no user" in str(failed.exception)
    file.write_text(GAP.replace("board_gap", "bord_gap"), encoding="utf-8")
    assert "did you mean board_gap" in str(run("check", str(file)).exception)


def test_check_of_an_empty_file_says_so(file: Path) -> None:
    file.write_text("", encoding="utf-8")
    assert run("check", str(file)).stdout.strip().endswith("no experiments")


@pytest.mark.parametrize(("user", "arm"), [("42", "wide"), ("43", "control")])
def test_who_tells_the_arm(file: Path, user: str, arm: str) -> None:
    rows = [line.split()[:3] for line in run("who", user, str(file)).stdout.splitlines()]
    assert rows[1:] == [["home", "gap", arm]]
    assert run("who", user, str(file), "--feed", "following").stdout.strip() == (
        f"{user} is in no experiment of following"
    )


def test_who_of_a_feed_that_is_not_there_is_refused(file: Path) -> None:
    failed = run("who", "42", str(file), "--feed", "hom")
    assert isinstance(failed.exception, UsageFault)
    assert "there are following, home" in str(failed.exception)


def test_recipes_of_a_deployment_can_have_experiments(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    recipe = '[[sources]]\nname = "fresh"\nkind = "followed_boards"\n'
    (folder / "fresh.toml").write_text(recipe, encoding="utf-8")
    file.write_text(GAP.replace('"home"', '"fresh"'), encoding="utf-8")
    assert isinstance(run("check", str(file)).exception, UsageFault)
    shown = run("who", "42", str(file), "--recipes-dir", str(folder)).stdout
    assert shown.splitlines()[1].split()[:3] == ["fresh", "gap", "wide"]
