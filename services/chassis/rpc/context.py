"""What a call carries along: its request id, the time left, its consistency token; and back, how stale it is.

The server's envelope sets it, the log and outgoing calls read it. A contextvar, because both worlds have
it: grpcio runs each threaded call in a context of its own, asyncio each task.
"""

from __future__ import annotations

import random
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

REQUEST_ID_KEY: Final = "x-request-id"
TOKEN_KEY: Final = "feedmesh-token-bin"
STALE_KEY: Final = "feedmesh-stale-ms"
"""In the trailing metadata of an answer whose view does not hear from the log: for how long, as text."""
_REQUEST_ID_CHARS_MAX = 64


@dataclass(frozen=True, slots=True)
class CallContext:
    """One incoming call."""

    request_id: str
    deadline: float | None
    """On `time.monotonic()`, the reserve for answering already taken off; None: a stream without one."""
    token: bytes | None = None

    def seconds_left(self) -> float | None:
        """Seconds until the deadline, possibly negative; None without a deadline."""
        return None if self.deadline is None else self.deadline - time.monotonic()


_CALL: ContextVar[CallContext | None] = ContextVar("feedmesh_call", default=None)


def current() -> CallContext | None:
    """The call being served; None outside of one (start-up, background threads)."""
    return _CALL.get()


def enter(call: CallContext) -> None:
    """Make `call` the current one, until the thread's or task's context ends."""
    _CALL.set(call)


def request_id_from(sent: str | bytes | None) -> str:
    """The caller's id, cut to a bounded length, or a new one."""
    if sent:
        text = sent.decode("ascii", "replace") if isinstance(sent, bytes) else sent
        return text[:_REQUEST_ID_CHARS_MAX]
    # Not uuid4: it reads the kernel's entropy on every call, and a request id need not be secret.
    return f"{random.getrandbits(64):016x}"


@dataclass(frozen=True, slots=True)
class Span:
    """One call that was made to another process; times on `time.perf_counter()`, seconds."""

    path: str
    address: str
    started: float
    elapsed: float
    code: str


_SPANS: ContextVar[list[Span] | None] = ContextVar("feedmesh_spans", default=None)


def record_spans() -> list[Span]:
    """Collect the calls that this context, and the tasks it starts from now on, make to other processes."""
    spans: list[Span] = []
    _SPANS.set(spans)
    return spans


def add_span(path: str, address: str, *, started: float, elapsed: float, code: str) -> None:
    """Note a call, if anybody collects them."""
    spans = _SPANS.get()
    if spans is not None:
        spans.append(Span(path, address, started, elapsed, code))


@dataclass(slots=True)
class Staleness:
    """The greatest mark among the answers that came: milliseconds without word from the log, 0 when none."""

    ms: int = 0


_STALENESS: ContextVar[Staleness | None] = ContextVar("feedmesh_staleness", default=None)


def record_staleness() -> Staleness:
    """Collect the marks of the answers that this context, and the tasks it starts from now on, are given.

    Replaces the one before it: each stage of a request counts for itself.
    """
    staleness = Staleness()
    _STALENESS.set(staleness)
    return staleness


def staleness() -> Staleness | None:
    """Where marks are to be noted; None when nobody collects them."""
    return _STALENESS.get()
