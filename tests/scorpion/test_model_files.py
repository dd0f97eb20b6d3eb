"""The pointer and its history: what serves, what served before, and what a crash may leave."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import BadRequest, CorruptValue, NotFound
from services.scorpion.model_files import (
    CARD,
    HISTORY,
    HISTORY_MAX,
    SERVING,
    Pointed,
    Sample,
    model_names,
    previous,
    promote,
    read_history,
    read_serving,
    rewrite_card,
    roll_back,
    write_model,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Models a, b and c, of which none serves."""
    for name in ("a", "b", "c"):
        write_model(tmp_path, name, "text", {"k": 1}, Sample(np.zeros((1, 1), np.float32), np.zeros(1)))
    return tmp_path


def names(directory: Path) -> list[str]:
    return [entry.name for entry in read_history(directory)]


def test_promotions_are_kept_in_order(directory: Path) -> None:
    for name in ("a", "b", "c"):
        promote(directory, name)
    assert read_serving(directory) == "c"
    assert names(directory) == ["a", "b", "c"]
    assert all(entry.at_ms > 0 for entry in read_history(directory))


def test_rollbacks_go_back_step_by_step_and_not_forth(directory: Path) -> None:
    for name in ("a", "b", "c"):
        promote(directory, name)
    assert [roll_back(directory), roll_back(directory)] == ["b", "a"]
    assert read_serving(directory) == "a"
    with pytest.raises(BadRequest, match="no model served before"):
        roll_back(directory)
    promote(directory, "c")
    assert roll_back(directory) == "a"


def test_a_rollback_to_a_model_that_is_gone_changes_nothing(directory: Path) -> None:
    promote(directory, "a")
    promote(directory, "b")
    (directory / "a" / "model.txt").unlink()
    with pytest.raises(NotFound):
        roll_back(directory)
    assert (read_serving(directory), names(directory)) == ("b", ["a", "b"])


def test_an_entry_that_never_came_into_force_is_dropped(directory: Path) -> None:
    promote(directory, "a")
    promote(directory, "b")
    # As a crash between the two files leaves them.
    (directory / SERVING).write_text("a\n")
    assert names(directory) == ["a"]
    promote(directory, "c")
    assert roll_back(directory) == "a"


def test_a_pointer_that_was_moved_by_hand_is_an_entry(directory: Path) -> None:
    promote(directory, "a")
    (directory / SERVING).write_text("c\n")
    assert read_history(directory)[-1] == Pointed("c", 0)
    assert roll_back(directory) == "a"


def test_a_pointer_from_before_there_was_a_history_counts(directory: Path) -> None:
    (directory / SERVING).write_text("a\n")
    promote(directory, "b")
    assert roll_back(directory) == "a"


def test_a_history_that_cannot_be_read_is_said(directory: Path) -> None:
    promote(directory, "a")
    (directory / HISTORY).write_text('[{"name": "a"}]')
    with pytest.raises(CorruptValue, match="move it away"):
        promote(directory, "b")
    assert read_serving(directory) == "a"


def test_the_history_is_bounded(directory: Path) -> None:
    entries = [{"name": "ab"[place % 2], "at_ms": place, "back": False} for place in range(HISTORY_MAX)]
    (directory / HISTORY).write_text(json.dumps(entries))
    (directory / SERVING).write_text("b\n")
    promote(directory, "c")
    assert len(read_history(directory)) == HISTORY_MAX
    assert read_history(directory)[-1].name == "c"


def test_history_and_pointer_are_no_models(directory: Path) -> None:
    promote(directory, "a")
    assert model_names(directory) == ["a", "b", "c"]
    assert model_names(directory / "absent") == []
    for name in (SERVING, HISTORY):
        with pytest.raises(BadRequest, match="cannot be a model's name"):
            write_model(directory, name, "", {}, Sample(np.zeros((1, 1), np.float32), np.zeros(1)))


def test_a_card_is_rewritten_whole(directory: Path) -> None:
    rewrite_card(directory / "a", {"k": 2})
    assert json.loads((directory / "a" / CARD).read_text()) == {"k": 2}
    assert sorted(path.name for path in (directory / "a").iterdir()) == [
        "card.json",
        "model.txt",
        "sample.npz",
    ]


@given(moves=st.lists(st.sampled_from(["a", "b", "c", "back"]), max_size=30))
def test_previous_is_what_a_stack_of_promotions_has_below_its_top(moves: list[str]) -> None:
    stack: list[str] = []
    history: list[Pointed] = []
    for move in moves:
        if move == "back":
            if len(stack) > 1:
                stack.pop()
                history.append(Pointed(stack[-1], 1, back=True))
        elif not stack or stack[-1] != move:
            stack.append(move)
            history.append(Pointed(move, 1))
    assert previous(history) == (stack[-2] if len(stack) > 1 else "")
