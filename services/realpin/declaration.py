"""Owns what a signal's declaration may say: the `[[signals]]` tables of realpin.toml.

Read by `config.py` (to load and check) and by `signals.py` (to aggregate). Knows neither gRPC nor storage nor
the process configuration, so that the offline trainer can declare the same signals as the service.
Refuses combinations that could never be right, such as a windowed signal of pins.
"""

from __future__ import annotations

from enum import IntEnum
from functools import partial
from typing import Annotated, Literal, TypeAlias

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG

SignalKind: TypeAlias = Literal["last", "decayed", "windowed"]
SignalOf: TypeAlias = Literal["pin", "interest", "board", "owner", "action"]

MS_PER_HOUR = 3_600_000
SIGNALS_MAX = 32


class ActionType(IntEnum):
    """The numbers of feedmesh.type.v1.ActionType; stored, so they never change their meaning."""

    IMPRESSION = 1
    CLOSEUP = 2
    CLICK = 3
    SAVE = 4
    HIDE = 5
    SERVED = 6


ACTION_NAMES = {action.name.lower(): action for action in ActionType}
SHOWN = frozenset({ActionType.IMPRESSION, ActionType.SERVED})
"""Actions that come packed and without board, owner and interests: they feed windowed signals only."""


@dataclass(frozen=True, config=CONFIG)
class SignalConfig:
    """One signal. Changing anything but `weights` and `limit` makes it start empty for every user."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]
    """What readers ask for."""

    kind: SignalKind
    """last: the newest distinct ids; decayed: a weight by id; windowed: a count by action type."""

    of: SignalOf
    """Which id of an engagement is aggregated; windowed signals are of `action`."""

    weights: dict[str, Annotated[float, Field(ge=-100, le=100)]] = Field(default_factory=dict)
    """By action name (closeup, click, save, hide; windowed also impression, served). An action that is not
    named does not feed the signal. Of windowed signals every weight is 1, and none named means all."""

    limit: int = Field(default=64, ge=1, le=1_000)
    """Most ids that are kept and answered; not used by windowed signals."""

    half_life_hours: float = Field(default=72.0, gt=0, le=24 * 366)
    """Of decayed signals: after this long a weight counts half."""

    window_hours: float = Field(default=24.0, gt=0, le=24 * 366)
    """Of windowed signals: how far back is counted."""

    buckets: int = Field(default=24, ge=1, le=96)
    """Of windowed signals: parts of the window. A count covers the window less at most one part."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.weights) - set(ACTION_NAMES))
        if unknown:
            raise ValueError(f"signal {self.name}: no such action: {', '.join(unknown)}")
        if (self.kind == "windowed") != (self.of == "action"):
            raise ValueError(f"signal {self.name}: windowed signals, and only they, are of 'action'")
        if self.kind == "windowed":
            if any(weight != 1 for weight in self.weights.values()):
                raise ValueError(f"signal {self.name}: a windowed signal counts, its weights are all 1")
            return
        if not self.weights:
            raise ValueError(f"signal {self.name}: name the weight of at least one action")
        shown = sorted(name for name in self.weights if ACTION_NAMES[name] in SHOWN)
        if shown:
            raise ValueError(f"signal {self.name}: {', '.join(shown)} can feed windowed signals only")

    @property
    def actions(self) -> dict[ActionType, float]:
        """Weight by action; of a windowed signal without weights, all actions."""
        if self.kind == "windowed" and not self.weights:
            return dict.fromkeys(ActionType, 1.0)
        return {ACTION_NAMES[name]: weight for name, weight in self.weights.items()}


_LIKES = {"save": 1.0, "click": 0.5, "closeup": 0.25}
_TASTE = {**_LIKES, "hide": -1.0}


def default_signals() -> list[SignalConfig]:
    """User signals: what the ranking model is trained on, so a deployment that changes them trains anew."""
    decayed = partial(SignalConfig, kind="decayed", weights=_TASTE)
    windowed = partial(SignalConfig, kind="windowed", of="action")
    return [
        SignalConfig(name="recent_pins", kind="last", of="pin", weights=_LIKES, limit=100),
        decayed(name="interest_weight", of="interest", half_life_hours=168),
        decayed(name="board_weight", of="board", half_life_hours=72),
        decayed(name="owner_weight", of="owner", half_life_hours=72),
        windowed(name="actions_1d", window_hours=24),
        windowed(name="actions_7d", window_hours=24 * 7),
        windowed(name="actions_30d", window_hours=24 * 30),
    ]
