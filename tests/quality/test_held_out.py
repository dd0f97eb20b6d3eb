"""What is held out in files, and of people who follow people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.quality import social
from tests.quality.data_files import Social
from tests.quality.held_out_file import read_held_out
from tests.quality.protocol import NEGATIVES, Boards
from tests.quality.social import SocialTest

BOARDS = Boards.of_pairs(np.array([0, 0, 1]), np.array([3, 4, 5]), board_count=2, pin_count=200)
FOLLOWS = np.array([[0, 1], [0, 2], [2, 0]])
SAVES = Boards.of_pairs(np.array([0, 1, 1, 2]), np.array([7, 7, 8, 9]), board_count=3, pin_count=10)


def file_of(folder: Path, **arrays: object) -> Path:
    path = folder / "held_out.npz"
    np.savez(path, **{name: np.array(values) for name, values in arrays.items()})  # type: ignore[arg-type]
    return path


def test_pins_of_a_file_are_ranked_among_drawn_ones_and_boards_keep_theirs(tmp_path: Path) -> None:
    test = read_held_out(file_of(tmp_path, pins=[9, 4]), BOARDS, seed=1)
    assert test.train is BOARDS
    assert test.candidates[:, 0].tolist() == [9, 4]
    for board in range(2):
        assert np.unique(test.candidates[board]).size == NEGATIVES + 1
        assert not np.isin(test.candidates[board], BOARDS.of(board)).any()


def test_negatives_of_a_file_are_taken_as_they_are(tmp_path: Path) -> None:
    negatives = np.tile(np.arange(100, 100 + NEGATIVES), (2, 1))
    test = read_held_out(file_of(tmp_path, pins=[9, 4], negatives=negatives), BOARDS, seed=1)
    assert (test.candidates[:, 1:] == negatives).all()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"pin": [9, 4]}, "`pins` is wanted"),
        ({"pins": [9]}, "must be 2 rows"),
        ({"pins": [9, 200]}, "below 200"),
        ({"pins": [9, 5]}, "board 1 already has"),
        ({"pins": [9, 4], "negatives": [[1], [2]]}, "`negatives` must be"),
    ],
    ids=["another name", "too few", "unknown pin", "trained on", "too few negatives"],
)
def test_file_that_does_not_fit_is_refused(tmp_path: Path, arrays: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_held_out(file_of(tmp_path, **arrays), BOARDS, seed=1)


def test_what_is_followed_leaves_out_what_the_person_has() -> None:
    test = SocialTest(SAVES, social.grouped(FOLLOWS), {0: np.array([8, 1])})
    assert test.followed_items(0).tolist() == [8, 9]
    assert test.recall(test.followed_items, k=10) == 0.5


def test_split_takes_each_save_to_one_side() -> None:
    rows, pins = np.divmod(np.arange(2_000), 40)
    saves = Boards.of_pairs(rows, pins, board_count=50, pin_count=40)
    left, held = social.split(saves, seed=1)
    assert 100 < len(held) < 300
    keys = np.concatenate([left.rows * 40 + left.pins, held[:, 0] * 40 + held[:, 1]])
    assert np.sort(keys).tolist() == list(range(2_000))


def test_pairs_of_a_file_must_not_be_in_the_data(tmp_path: Path) -> None:
    data = Social(FOLLOWS, SAVES)
    assert social.given(data, file_of(tmp_path, pairs=[[0, 8], [1, 9]])).people == [0]
    with pytest.raises(ValueError, match="is in the data"):
        social.given(data, file_of(tmp_path, pairs=[[0, 7]]))
