"""What a motif is given to draw with: its colours and its chances.

Owns the seeded variation. Refuses: layout. A *subject* draws one thing into the box from −50 to 50 on both
axes, standing on y = 45; a *scene* fills a rectangle of any size from (0, 0).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from services.cli.demo.pictures.inks import Inks

Choice = TypeVar("Choice")


@dataclass(frozen=True, slots=True)
class Brush:
    """`step` shifts the inks, so that neighbours in one picture differ though they share a palette."""

    inks: Inks
    rng: Random
    step: int = 0

    def fill(self, index: int) -> str:
        """Ink `index`; the body of a motif takes 0. Shifted neighbours swap the two that show best."""
        if index < 2:
            return self.inks.fills[(index + self.step) % 2]
        return self.inks.fills[2 + (index + self.step) % 2]

    def width(self, units: float) -> float:
        return units * self.inks.weight

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.rng.random()

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def choose(self, options: Sequence[Choice]) -> Choice:
        return options[int(self.rng.random() * len(options))]


Subject = Callable[[Brush], str]
Scene = Callable[[Brush, float, float], str]
