"""What a build is told: memory, pruning, classes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.chassis.errors import BadRequest

MEMORY_BYTES_MIN = 1 << 16


class Bias(StrEnum):
    """What the classes of nodes are, which biased walks may prefer."""

    NONE = "none"
    LANGUAGE = "language"
    """A pin's language."""
    INTEREST = "interest"
    """The first of a pin's interests."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """All knobs of a build; the defaults prune nothing."""

    memory_bytes: int = 1 << 30
    """Memory for sorting, about; beside it stand some 12 bytes a pin and 16 a board (see `build.py`)."""
    bias: Bias = Bias.NONE
    """Classes of pins; boards take the class of most of their pins."""
    pin_degree_power: float = 1.0
    """δ of the paper, over 0 to 1: a pin of d boards keeps the ceil(d^δ) that are most like it. The paper's
    graph was best at 0.91; 1 keeps all."""
    board_entropy_drop: float = 0.0
    """Share of boards, 0 to 0.9, that is left out for the most diverse topics (paper, "Graph Pruning")."""
    min_board_pins: int = 1
    """Boards with fewer pins are left out: a board of one pin leads nowhere else."""
    max_board_pins: int = 0
    """Boards with more pins are left out: collections of everything; 0: none is."""

    @property
    def prunes(self) -> bool:
        """Whether anything may be left out."""
        return self.prunes_boards or self.pin_degree_power < 1

    @property
    def prunes_boards(self) -> bool:
        """Whether boards may be left out."""
        return self.board_entropy_drop > 0 or self.min_board_pins > 1 or self.max_board_pins > 0

    @property
    def wants_topics(self) -> bool:
        """Whether topics of pins, their interests, are of use."""
        return self.board_entropy_drop > 0 or self.pin_degree_power < 1

    @property
    def wants_attributes(self) -> bool:
        """Whether attributes of pins are of use."""
        return self.bias is not Bias.NONE or self.wants_topics

    def check(self) -> None:
        """Raises BadRequest with every value that is out of range."""
        faults = []
        if self.memory_bytes < MEMORY_BYTES_MIN:
            faults.append(f"memory is {self.memory_bytes} bytes; at least {MEMORY_BYTES_MIN}")
        if not 0 < self.pin_degree_power <= 1:
            faults.append(f"pin degree power (delta) is {self.pin_degree_power}; over 0, at most 1")
        if not 0 <= self.board_entropy_drop <= 0.9:
            faults.append(f"board entropy drop is {self.board_entropy_drop}; a share of 0 to 0.9")
        if self.min_board_pins < 1:
            faults.append(f"the least pins of a board are {self.min_board_pins}; at least 1")
        if self.max_board_pins and self.max_board_pins < self.min_board_pins:
            faults.append(f"boards have {self.min_board_pins} to {self.max_board_pins} pins: there are none")
        if faults:
            raise BadRequest("; ".join(faults))
