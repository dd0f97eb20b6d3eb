"""Promote and rollback: what is checked first, and who is waited for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from services.cli.faults import CliFault, UsageFault
from services.cli.models.moving import Moved, promote_model, roll_back
from services.cli.models.report import moved_document, moved_text
from services.cli.models.scorpions import Told
from services.scorpion.model_files import promote, read_serving
from tests.cli.feature_logs import FEATURES
from tests.cli.model_versions import refused, told, write_version


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Models a, b and c; a serves."""
    for name in ("a", "b", "c"):
        write_version(tmp_path, name)
    promote(tmp_path, "a")
    return tmp_path


def following(models: Path) -> Callable[[], Sequence[Told]]:
    """A Scorpion that serves what the pointer names."""
    return lambda: told(read_serving(models))


def promoted(models: Path, name: str, ask: Callable[[], Sequence[Told]], *, force: str = "") -> Moved:
    return promote_model(models, name, FEATURES, ask, force=force, wait_s=0)


def test_a_model_that_is_promoted_serves(models: Path) -> None:
    moved = promoted(models, "b", following(models))
    assert read_serving(models) == "b"
    assert (moved.before, moved.served_by, moved.behind, moved.silent) == ("a", ["scorpion-1"], [], [])
    assert "b serves" in moved_text(moved)


def test_those_that_do_not_follow_are_named(models: Path) -> None:
    moved = promoted(models, "b", lambda: told("b", "a", "-"))
    assert moved_document(moved) == {
        "model": "b",
        "before": "a",
        "served_by": ["scorpion-1"],
        "not_served_by": {"scorpion-2": "a"},
        "no_answer": ["scorpion-3"],
    }


def test_a_mesh_that_is_down_is_promoted_for_its_next_start(models: Path) -> None:
    moved = promoted(models, "b", lambda: told("-"))
    assert read_serving(models) == "b"
    assert "when one starts" in moved_text(moved)


def test_it_is_waited_for_until_all_follow(models: Path) -> None:
    answers = iter([told("a", "a"), told("b", "a"), told("b", "b")])
    moved = promote_model(models, "b", FEATURES, lambda: next(answers), force="", wait_s=60)
    assert moved.served_by == ["scorpion-1", "scorpion-2"]


def test_what_serves_already_is_said(models: Path) -> None:
    with pytest.raises(UsageFault, match="a serves already"):
        promoted(models, "a", following(models))
    with pytest.raises(UsageFault, match="a is promoted already"):
        promoted(models, "a", lambda: told("-"))


def test_a_scorpion_that_is_behind_its_pointer_is_waited_for(models: Path) -> None:
    moved = promoted(models, "a", lambda: told("b"))
    assert [one.process for one in moved.behind] == ["scorpion-1"]


def test_a_name_that_is_unknown_suggests_what_is_near(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="nor any other; feedmesh train"):
        promoted(tmp_path, "20261128-153024", lambda: told("-"))
    for name in ("20261128-153024", "20261127-090000", "other"):
        write_version(tmp_path, name)
    with pytest.raises(UsageFault, match="near it: 20261128-153024"):
        promoted(tmp_path, "20261128-15302", lambda: told("-"))
    with pytest.raises(UsageFault, match="there are 20261127-090000, 20261128-153024, other"):
        promoted(tmp_path, "zzz", lambda: told("-"))


def test_a_model_that_scorpion_would_refuse_never_gets_the_pointer(models: Path) -> None:
    (models / "b" / "model.txt").write_text("tree\n")
    with pytest.raises(CliFault, match="Scorpion would refuse b"):
        promoted(models, "b", following(models))
    assert read_serving(models) == "a"


def test_a_model_that_was_judged_worse_needs_a_reason(models: Path) -> None:
    write_version(models, "worse", refused())
    with pytest.raises(CliFault, match="--force 'REASON'"):
        promoted(models, "worse", following(models))
    assert read_serving(models) == "a"
    promoted(models, "worse", following(models), force="an experiment")
    assert read_serving(models) == "worse"
    card = json.loads((models / "worse" / "card.json").read_text())
    assert card["verdict"]["forced"] == "an experiment"


def test_worse_than_a_model_that_serves_no_more_is_no_reason(models: Path) -> None:
    write_version(models, "worse", refused(against="serving", parent="a"))
    with pytest.raises(CliFault):
        promoted(models, "worse", following(models))
    promoted(models, "b", following(models))
    promoted(models, "worse", following(models))
    assert read_serving(models) == "worse"


def test_a_rollback_leads_to_what_served_before(models: Path) -> None:
    promoted(models, "b", following(models))
    moved = roll_back(models, FEATURES, following(models), wait_s=0)
    assert (moved.name, moved.before, read_serving(models)) == ("a", "b", "a")
    with pytest.raises(UsageFault, match="no model served before a"):
        roll_back(models, FEATURES, following(models), wait_s=0)


def test_a_rollback_to_a_broken_model_leaves_the_pointer(models: Path) -> None:
    promoted(models, "b", following(models))
    (models / "a" / "sample.npz").write_bytes(b"")
    with pytest.raises(CliFault, match="would refuse a"):
        roll_back(models, FEATURES, following(models), wait_s=0)
    assert read_serving(models) == "b"


def test_a_rollback_without_a_serving_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="no model serves"):
        roll_back(tmp_path, FEATURES, lambda: told("-"), wait_s=0)
