"""Owns what there is two of: the lists of boards and the lists of interests, each an arena and a scale.

A board and an interest may have the same id, so each kind has an arena of its own; the kernels are shared and
do not know which kind they work for: inside an arena a list is called a board, and an interest is one without
an owner. Each kind decays by its own half life.
Next: `arena.py`, `light_score.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.polaris.arena import Arena
from services.polaris.config import PolarisConfig
from services.polaris.light_score import LightScale

BOARD: Final = "board"
INTEREST: Final = "interest"


@dataclass(frozen=True, slots=True, eq=False)
class PinLists:
    """All lists of one kind (BOARD or INTEREST) of this process."""

    kind: str
    arena: Arena
    scale: LightScale


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """Both kinds."""

    boards: PinLists
    interests: PinLists

    @classmethod
    def empty(cls, config: PolarisConfig) -> Lists:
        """Lists without pins, bounded and scaled as configured."""
        return cls(
            boards=PinLists(
                BOARD,
                Arena(pins_per_board_max=config.pins_per_board_max, pins_max=config.pins_max),
                LightScale(half_life_s=config.half_life_s, epoch_s=config.epoch_s),
            ),
            interests=PinLists(
                INTEREST,
                Arena(pins_per_board_max=config.pins_per_interest_max, pins_max=config.interest_pins_max),
                LightScale(half_life_s=config.interest_half_life_s, epoch_s=config.epoch_s),
            ),
        )
