"""Every knob and limit of RealPin. Loaded by the chassis; the signals are declared here, not coded."""

from __future__ import annotations

from typing import Final

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG
from services.chassis.log.follower_config import FollowerConfig
from services.chassis.process import ProcessConfig
from services.realpin.declaration import SIGNALS_MAX, ActionType, SignalConfig, default_signals

BATCH_BYTES_MAX: Final = 64 << 20
"""What one storage batch may hold (`StoreLimits`): a follower whose batch does not fit can never go on."""


@dataclass(frozen=True, config=CONFIG)
class RealPinConfig:
    """RealPin's configuration."""

    process: ProcessConfig = ProcessConfig(listen="127.0.0.1:7005")
    """Addresses, threads, draining."""

    follower: FollowerConfig = FollowerConfig()
    """How the topic `actions` is followed."""

    signals: list[SignalConfig] = Field(default_factory=default_signals, min_length=1, max_length=SIGNALS_MAX)
    """What is aggregated. A list in the file replaces the default list whole."""

    states_max: int = Field(default=5_000, ge=1)
    """Users whose decoded state the follower keeps, 5 to 60 KB each; others are read again when they act."""

    block_cache_bytes: int = Field(default=64 << 20, ge=1 << 20)
    """Cache of the store's blocks: what readers read from."""

    memtable_bytes: int = Field(default=64 << 20, ge=1 << 20)
    """Memory for what was just written."""

    def __post_init__(self) -> None:
        names = [signal.name for signal in self.signals]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two signals are named {', '.join(twice)}")
        batch_bytes = self.follower.batch_records_max * self.state_bytes_max
        if batch_bytes > BATCH_BYTES_MAX:
            raise ValueError(
                f"follower.batch_records_max of {self.follower.batch_records_max} users with up to "
                f"{self.state_bytes_max} bytes of signals does not fit a batch of {BATCH_BYTES_MAX} bytes: "
                "lower it, or the limits of the signals"
            )

    @property
    def state_bytes_max(self) -> int:
        """Upper bound of one user's stored state."""
        kept = sum(signal.limit * 3 // 2 + 1 for signal in self.signals if signal.kind != "windowed")
        slices = sum((signal.buckets + 1) for signal in self.signals if signal.kind == "windowed")
        return 64 + 128 * len(self.signals) + 20 * kept + 12 * (len(ActionType) + 2) * slices
