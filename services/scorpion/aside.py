"""What learns from requests, and has no effect on answers: the feature log with its stash, and the shadow.

Each has a thread of its own and bounds of its own; what they have no room for is dropped and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.chassis.clock import Clock
from services.scorpion.config import ScorpionConfig
from services.scorpion.feature_log import FeatureLog
from services.scorpion.feature_stash import FeatureStash
from services.scorpion.metrics import ScorpionMetrics
from services.scorpion.models import ModelDirectory
from services.scorpion.shadow import Shadow


@dataclass(frozen=True, slots=True)
class Aside:
    """All of it."""

    stash: FeatureStash
    log: FeatureLog
    shadow: Shadow

    def start(self) -> None:
        """Start the threads."""
        self.log.start()
        self.shadow.start()

    def stop(self) -> None:
        """End them; what waits for the log is written."""
        self.shadow.stop()
        self.log.stop()


def aside_of(
    config: ScorpionConfig, models: ModelDirectory, metrics: ScorpionMetrics, *, clock: Clock, log: Any
) -> Aside:
    """As configured, not started."""
    of_log = config.feature_log
    return Aside(
        stash=FeatureStash(
            bytes_max=of_log.stash_bytes, age_max_s=of_log.stash_age_max_s, clock=clock, metrics=metrics
        ),
        log=FeatureLog(of_log.directory, of_log.limits, metrics=metrics, clock=clock, log=log),
        shadow=Shadow(
            lambda: models.current().models.get(config.shadow_model),
            share=config.shadow_share if config.shadow_model else 0.0,
            queue_max=config.shadow_queue_max,
            metrics=metrics,
            clock=clock,
            log=log,
        ),
    )
