"""One request's run: its time, what each stage reported, the funnel.

Owns the record that becomes the answer's stages and explanation. `Run.stage` is the one place where a
stage's deadline, its faults and its report meet: a peer's fault makes the stage missed, and the pipeline
falls back; a fault of the caller (a bad token, say) ends the request, since no fallback mends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import structlog

from services.chassis.clock import Clock
from services.chassis.errors import BadRequest, Cancelled, FeedmeshError, TokenAhead, TooLate
from services.chassis.rpc.context import record_staleness

T = TypeVar("T")

COMPLETE: Final = "complete"
PARTIAL: Final = "partial"
MISSED: Final = "missed"
SKIPPED: Final = "skipped"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class StageReport:
    """What a stage gave. `detail` is for people and empty when the stage was complete."""

    stage: str
    status: str
    detail: str
    elapsed_us: int
    stale_ms: int = 0
    """For how long the views that answered had not heard from the log; 0: up to date."""


@dataclass
class Run:
    """The state of one request; made by the service, filled by the pipeline. Not shared between requests."""

    clock: Clock
    ends_at: float
    """Monotonic seconds at which the answer must be made."""
    reports: list[StageReport] = field(default_factory=list)
    funnel: list[tuple[str, str, int]] = field(default_factory=list)

    def left_s(self) -> float:
        """Seconds until the answer must be made; may be negative."""
        return self.ends_at - self.clock.monotonic()

    def report(
        self, stage: str, status: str, detail: str = "", *, began: float | None = None, stale_ms: int = 0
    ) -> None:
        """Note what a stage gave."""
        elapsed = self.clock.monotonic() - began if began is not None else 0.0
        self.reports.append(StageReport(stage, status, detail, int(elapsed * 1_000_000), stale_ms))

    def count(self, stage: str, reason: str, count: int) -> None:
        """Note how many a stage kept, or removed and why."""
        self.funnel.append((stage, reason, count))

    def missed(self, stage: str) -> bool:
        """Whether the stage was asked for and gave nothing."""
        return any(report.stage == stage and report.status == MISSED for report in self.reports)

    @property
    def complete(self) -> bool:
        """Whether every stage that was asked for gave everything."""
        return all(report.status in (COMPLETE, SKIPPED) for report in self.reports)

    @property
    def stale_ms(self) -> int:
        """The stalest stage's mark."""
        return max((report.stale_ms for report in self.reports), default=0)

    async def stage(
        self,
        name: str,
        share: float,
        call: Callable[[float], Awaitable[T]],
        *,
        instead: str,
        final: tuple[type[FeedmeshError], ...] = (),
        not_set_up: tuple[type[FeedmeshError], ...] = (),
    ) -> T | None:
        """Run `call(timeout_s)` with its share of the time that is left; None when nothing came.

        `instead` says for people what is done when the stage is missed. A result with a `missing` text is
        reported as partial. `not_set_up` names what means that this mesh does not have what the stage
        needs, and is not meant to: the stage is skipped, and the answer is complete without it.

        Raises:
            BadRequest, TokenAhead, and what `final` names: the caller's fault, which no fallback mends.
        """
        began = self.clock.monotonic()
        timeout_s = max(self.left_s(), 0.0) * share
        staleness = record_staleness()
        try:
            if timeout_s <= 0:
                raise TooLate("no time is left for this stage")
            # The client has the same deadline; this one holds when a client overruns it. Not `wait_for`,
            # which makes a task of every call.
            async with asyncio.timeout(timeout_s + 0.005):
                result = await call(timeout_s)
        except (FeedmeshError, TimeoutError) as fault:
            if isinstance(fault, (BadRequest, TokenAhead, Cancelled, *final)):
                raise
            reason = str(fault) or "no answer in time"
            _log.debug("stage missed", stage=name, reason=reason)
            status = SKIPPED if isinstance(fault, not_set_up) else MISSED
            self.report(name, status, f"{reason}; {instead}", began=began)
            return None
        missing = getattr(result, "missing", "")
        self.report(name, PARTIAL if missing else COMPLETE, missing, began=began, stale_ms=staleness.ms)
        return result
