"""How to walk: what a request may set, and what presets hold.

Next: `walk.py`, which does it; `config.py` has the presets.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG

STEPS_MAX: Final = 10_000_000
"""Steps of one request. Visits are counted in float32, which holds every whole number up to 2^24."""

assert STEPS_MAX < 1 << 24


@dataclass(frozen=True, config=CONFIG)
class WalkSettings:
    """How to walk. A step goes from a pin to one of its boards, and on to one of that board's pins."""

    step_count: int = Field(default=100_000, ge=1, le=STEPS_MAX)
    """Steps of all walks together."""

    restart: float = Field(default=1.0, gt=0, le=1)
    """Chance that a walk begins anew after a step; 1: every walk is one round trip."""

    steps_by_degree: bool = False
    """Whether steps go to query pins by their degree (paper, equation 2), not by weight alone."""

    booster: bool = False
    """Whether visits from several query pins are boosted (paper, equation 3)."""

    early_stop_pins: int = Field(default=0, ge=0, le=STEPS_MAX)
    """Walks of a query pin end when more pins than this were visited `early_stop_visits` times each."""

    early_stop_visits: int = Field(default=0, ge=0, le=STEPS_MAX)
    """See `early_stop_pins`; with 0 in either of them walks never end early."""

    degree_penalty: float = Field(default=0.4, ge=0, le=1)
    """Scores are divided by degree to this power; 0: they are not."""

    bias: float = Field(default=0.0, ge=0, le=1)
    """Chance that a step keeps to preferred neighbours, where there are any and the request names them."""

    exact: bool = True
    """Where round trips from a query pin have few ways, at most four a step, count every way once: the same
    expectation, without noise, in no more time. Only with restart 1."""

    def __post_init__(self) -> None:
        if self.exact and self.restart < 1:
            raise ValueError(f"exact is true and restart is {self.restart}: only round trips can be counted")


def default_presets() -> dict[str, WalkSettings]:
    """`paper`: as published (arXiv 1711.07601, sections 3.1 and 5). `real`: what measures best here."""
    return {
        "paper": WalkSettings(
            step_count=200_000,
            restart=0.5,
            steps_by_degree=True,
            booster=True,
            early_stop_pins=2_000,
            early_stop_visits=4,
            degree_penalty=0.0,
            bias=0.5,
            exact=False,
        ),
        "real": WalkSettings(step_count=200_000, steps_by_degree=True, degree_penalty=0.5),
    }
