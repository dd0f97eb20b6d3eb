"""What the list and the card of models say."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from services.cli.faults import UsageFault
from services.cli.models.report import as_documents, list_text, print_card, versions_table
from services.cli.models.states import State, states_of
from services.cli.models.versions import serving_version, version, versions
from services.scorpion.model_files import promote
from tests.cli.feature_logs import FEATURES
from tests.cli.model_versions import CHANCE, refused, told, write_version


def states(models: Path, *serving: str, loaded: tuple[str, ...] = ()) -> dict[str, State]:
    return states_of(models, versions(models), told(*serving, loaded=loaded), FEATURES)


def printed(*parts: object, width: int = 100) -> str:
    text = io.StringIO()
    console = Console(file=text, width=width)
    for part in parts:
        console.print(part)
    return text.getvalue()


def test_what_serves_and_what_served_before_are_marked(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_version(tmp_path, name)
    promote(tmp_path, "a")
    promote(tmp_path, "b")
    seen = states(tmp_path, "b", "b", loaded=("a", "c"))
    assert {name: state.words for name, state in seen.items()} == {
        "a": ("previous",),
        "b": ("serving",),
        "c": (),
    }


def test_a_scorpion_that_serves_something_else_is_named(tmp_path: Path) -> None:
    write_version(tmp_path, "a")
    write_version(tmp_path, "b")
    promote(tmp_path, "b")
    seen = states(tmp_path, "a", "b", loaded=("a", "b"))
    assert seen["a"].words == ("serves on scorpion-1",)
    assert seen["b"].words == ("promoted",)


def test_a_refused_model_says_why(tmp_path: Path) -> None:
    folder = write_version(tmp_path, "a")
    (folder / "model.txt").write_text("tree\n")
    write_version(tmp_path, "b")
    seen = states(tmp_path, "c")
    assert seen["a"].words == ("refused",)
    assert "not the text" in seen["a"].why
    assert seen["b"].words == ("not loaded",)


def test_without_a_scorpion_nothing_is_refused(tmp_path: Path) -> None:
    folder = write_version(tmp_path, "a")
    (folder / "model.txt").write_text("tree\n")
    promote(tmp_path, "a")
    seen = states(tmp_path, "-")
    assert seen["a"].words == ("promoted",)
    assert "no Scorpion answers" in list_text(tmp_path, versions(tmp_path), seen, told("-"))


def test_a_model_that_was_kept_back_says_why_until_it_is_forced(tmp_path: Path) -> None:
    card = refused(reason="it ranks no better than newest first")
    write_version(tmp_path, "a", card)
    write_version(tmp_path, "b", {"verdict": {**card["verdict"], "forced": "an experiment"}})
    seen = states(tmp_path, "", loaded=("a", "b"))
    assert seen["a"].words == ("kept back",)
    assert "a: it ranks no better than newest first" in list_text(
        tmp_path, versions(tmp_path), seen, told("")
    )
    assert seen["b"].words == ()


def test_the_table_fits_a_hundred_columns_with_the_newest_first(tmp_path: Path) -> None:
    for name in ("20261127-090000", "20261128-153024"):
        write_version(tmp_path, name, {"trained_at_ms": 1_790_000_000_000, **refused()})
    promote(tmp_path, "20261127-090000")
    found, seen = versions(tmp_path), states(tmp_path, "20261127-090000", loaded=("20261128-153024",))
    lines = printed(versions_table(found, seen)).splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["model", "20261128-153024"]
    assert all(len(line) <= 100 and "…" not in line for line in lines)
    assert lines[1].rstrip().endswith("kept back")
    assert "serving" in lines[2]
    assert lines[2].startswith("20261127-090000")


def test_a_version_without_a_card_is_listed(tmp_path: Path) -> None:
    (write_version(tmp_path, "a") / "card.json").unlink()
    found, seen = versions(tmp_path), states(tmp_path, "a")
    assert "a" in printed(versions_table(found, seen))
    assert as_documents(found, seen)[0]["metrics"] is None


def test_an_empty_directory_says_what_to_do(tmp_path: Path) -> None:
    assert "feedmesh train" in list_text(tmp_path, [], {}, told("-"))


def test_documents_are_json(tmp_path: Path) -> None:
    write_version(tmp_path, "a")
    document = json.loads(json.dumps(as_documents(versions(tmp_path), states(tmp_path, "a"))))[0]
    assert document["state"] == ["serves on scorpion-1"]
    assert document["metrics"]["model"]["ndcg_at_10"] > 0.9


def test_the_card_is_told_to_people(tmp_path: Path) -> None:
    write_version(tmp_path, "a", model=CHANCE)
    text = io.StringIO()
    print_card(Console(file=text, width=100), version(tmp_path, "a"))
    assert "5 trees" in text.getvalue()
    assert "light score" in text.getvalue()


def test_a_card_of_another_hand_is_told_as_far_as_it_goes(tmp_path: Path) -> None:
    folder = write_version(tmp_path, "a")
    (folder / "card.json").write_text("{}")
    text = io.StringIO()
    print_card(Console(file=text, width=100), version(tmp_path, "a"))
    assert "does not say how it was trained" in text.getvalue()


def test_without_a_name_the_serving_model_is_shown(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="no model serves"):
        serving_version(tmp_path)
    write_version(tmp_path, "a")
    promote(tmp_path, "a")
    assert serving_version(tmp_path).name == "a"
