"""What was held out elsewhere, as a file: the same measurement of pins that the data does not have.

    pins        one row of a pin for each board
    negatives   optional, (board, 99): what it is ranked among; left away, pins are drawn by chance

Nothing is taken from the boards then: they are all train.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.quality.protocol import NEGATIVES, Boards, HeldOut, with_negatives


def read_held_out(path: Path, boards: Boards, *, seed: int) -> HeldOut:
    """The test in the file. Raises ValueError on one that does not fit the boards."""
    with np.load(path, allow_pickle=False) as arrays:
        if "pins" not in arrays:
            raise ValueError(f"{path} has {', '.join(arrays)}; `pins` is wanted")
        pins = arrays["pins"].astype(np.int64)
        negatives = arrays["negatives"].astype(np.int64) if "negatives" in arrays else None
    if pins.shape != (len(boards),) or pins.min() < 0 or pins.max() >= boards.pin_count:
        raise ValueError(f"{path}: `pins` must be {len(boards)} rows of pins, below {boards.pin_count}")
    trained_on = [board for board, pin in enumerate(pins.tolist()) if pin in boards.of(board)]
    if trained_on:
        raise ValueError(f"{path}: board {trained_on[0]} already has the pin that is held out of it")
    if negatives is None:
        return HeldOut(boards, with_negatives(boards, pins, np.random.default_rng(seed)))
    if negatives.shape != (len(boards), NEGATIVES):
        raise ValueError(f"{path}: `negatives` must be {(len(boards), NEGATIVES)}, not {negatives.shape}")
    return HeldOut(boards, np.column_stack([pins, negatives]))
