"""Waits, within the call's deadline, until what was queued is durable; says why when it is not."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Final

from services.chassis.errors import LogUnavailable, TooLate
from services.chassis.log.log import Log, Positions
from services.chassis.rpc.context import current

_RESERVE_SHARE_MAX: Final = 0.1
_WAIT_S_MAX: Final = 30.0
"""For a call outside of a server, which has no deadline (tests)."""


def wait_durable(log: Log, future: Future[Positions], *, reserve_s: float) -> Positions:
    """What `publish` came to. `reserve_s` is kept back for the answer: the caller is to hear the reason.

    Raises:
        TooLate: the call's time is over.
        LogUnavailable: it is over, and the log has been in trouble.
        FeedmeshError: what the log failed with.
    """
    call = current()
    left_s = call.seconds_left() if call is not None else None
    if left_s is not None:
        left_s = max(0.0, left_s - min(reserve_s, left_s * _RESERVE_SHARE_MAX))
    try:
        return future.result(_WAIT_S_MAX if left_s is None else left_s)
    except FutureTimeout:
        raise _give_up(log, future) from None


def _give_up(log: Log, future: Future[Positions]) -> TooLate | LogUnavailable:
    fate = (
        "the events were not written"
        if future.cancel()
        else "the events may have been written; retry with the same event ids, which count once"
    )
    trouble = log.trouble
    if trouble:
        return LogUnavailable(f"{trouble}; {fate}")
    return TooLate(f"the deadline passed before the events were known to be durable: {fate}")
