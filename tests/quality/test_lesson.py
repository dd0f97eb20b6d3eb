"""What rankers learn from: labels that neither the graph nor the query of their own rows knows."""

from __future__ import annotations

import numpy as np

from tests.quality.lesson import LABEL_NEGATIVES, labels_of
from tests.quality.protocol import hold_out
from tests.quality.test_protocol import some_boards


def test_labels_are_train_pins_that_the_rows_of_training_do_not_know() -> None:
    boards = some_boards(4)
    test = hold_out(boards, seed=1)
    labels = labels_of(test)
    for board in range(0, len(boards), 2):
        label, test_pin = labels.candidates[board, 0], test.candidates[board, 0]
        assert label in test.train.of(board), "a label is of train, never of the test"
        assert label != test_pin
        assert label not in labels.train.of(board), "its edge would tell of it"
        assert test_pin not in labels.train.of(board)


def test_every_second_board_has_a_label_and_the_others_keep_their_pins() -> None:
    test = hold_out(some_boards(4), seed=1)
    labels = labels_of(test)
    assert labels.candidates.shape[1] == LABEL_NEGATIVES + 1
    assert ((labels.candidates[:, 0] >= 0) == (np.arange(len(test.train)) % 2 == 0)).all()
    assert labels.train.of(1).tolist() == test.train.of(1).tolist()


def test_negatives_of_a_label_are_not_in_the_boards_train() -> None:
    test = hold_out(some_boards(4), seed=1)
    labels = labels_of(test)
    for board in range(0, len(test.train), 2):
        assert not np.isin(labels.candidates[board, 1:], test.train.of(board)).any()
