"""The experiments in use are always a whole file that was checked."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client.registry import CollectorRegistry

from services.chassis.errors import ConfigFaults
from services.feedgen.experiments.arms import Assigned
from services.feedgen.experiments.file import WatchedExperiments, recipe_check
from services.feedgen.metrics import FeedgenMetrics
from services.feedgen.recipes.files import read_trees

TREES = read_trees()
GAP = """
[[experiment]]
name = "gap"
dial = 100
feeds = ["home"]
[[experiment.arm]]
name = "wide"
[experiment.arm.set]
"select.board_gap" = 6
"""


class Watched:
    def __init__(self, path: Path | None) -> None:
        self.registry = CollectorRegistry()
        self.events: list[dict[str, Any]] = []
        self.experiments = WatchedExperiments.read(
            path, recipe_check(TREES), FeedgenMetrics(self.registry), feeds=TREES, log=self
        )

    def warning(self, event: str, **values: Any) -> None:
        self.events.append({"event": event, **values})

    error = warning

    def arms(self) -> tuple[Assigned, ...]:
        return self.experiments.current().arms(7, "home")

    def sample(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"feedmesh_feedgen_experiments_{name}", labels)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "experiments.toml"
    written.write_text(GAP, encoding="utf-8")
    return written


def test_a_file_is_read_and_shown(path: Path) -> None:
    watched = Watched(path)
    assert watched.arms() == (Assigned("gap", "wide", {"select.board_gap": 6}),)
    assert (watched.sample("valid"), watched.sample("running_count")) == (1, 1)


def test_rollback_is_one_edit(path: Path) -> None:
    watched = Watched(path)
    before = watched.experiments.current()
    path.write_text(GAP.replace("dial = 100", "dial = 0"), encoding="utf-8")
    assert watched.experiments.reload()
    assert watched.arms() == ()
    # A request that had taken the old ones goes on with them.
    assert len(before.arms(7, "home")) == 1
    assert watched.sample("running_count") == 0
    assert watched.sample("reloads_total", result="swapped") == 1
    assert watched.events == [{"event": "experiments swapped", "dials": {}}]


@pytest.mark.parametrize(
    "bad", ["[[experiment]", GAP.replace("board_gap", "bord_gap"), GAP + GAP], ids=["cut", "key", "twice"]
)
def test_a_refused_file_keeps_the_old_experiments_and_says_why(path: Path, bad: str) -> None:
    watched = Watched(path)
    path.write_text(bad, encoding="utf-8")
    assert not watched.experiments.reload()
    assert len(watched.arms()) == 1
    assert watched.sample("valid") == 0
    assert watched.sample("reloads_total", result="refused") == 1
    (event,) = watched.events
    assert event["event"] == "experiments refused, the old ones stay"
    assert all(str(path) in fault for fault in event["faults"])
    path.write_text(GAP, encoding="utf-8")
    assert watched.experiments.reload()
    assert watched.sample("valid") == 1


def test_a_process_does_not_start_on_a_bad_file(path: Path) -> None:
    path.write_text(GAP.replace("board_gap", "bord_gap"), encoding="utf-8")
    with pytest.raises(ConfigFaults, match=r"experiments\.toml: experiment gap: .*did you mean board_gap"):
        Watched(path)
    with pytest.raises(ConfigFaults, match="experiments_path"):
        Watched(path.with_name("absent.toml"))


def test_without_a_file_there_are_none() -> None:
    watched = Watched(None)
    watched.experiments.start()
    assert not watched.experiments.reload()
    assert watched.arms() == ()
    assert (watched.sample("valid"), watched.sample("running_count")) == (1, 0)
    watched.experiments.stop()


def test_the_watcher_applies_an_edit(path: Path) -> None:
    watched = Watched(path)
    watched.experiments.start()
    waited = threading.Event()
    try:
        while watched.arms():
            # Again and again, because the watch begins a moment after start() returns.
            path.write_text("", encoding="utf-8")
            waited.wait(0.05)
    finally:
        watched.experiments.stop()
    assert watched.sample("running_count") == 0


def test_the_example_is_valid_and_nobody_is_in_it() -> None:
    log = structlog.get_logger()
    read = WatchedExperiments.read(
        Path("deploy/config/experiments.toml"),
        recipe_check(TREES),
        FeedgenMetrics(CollectorRegistry()),
        feeds=TREES,
        log=log,
    ).current()
    assert len(read.all) == 2
    assert not any(each.has_anybody for each in read.all)
