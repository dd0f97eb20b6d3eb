"""The steps around every call, the same for threads and asyncio.

    phase → request id → deadline (reserve taken off) → token gate → the call → status → metrics

A few microseconds: no allocation but the CallContext, metric children bound per method. `server.py` and
`aio_server.py` put these steps around handlers; the bound on waiting calls is theirs, because threads
queue and asyncio does not. Health and reflection pass outside: they must answer when nothing else can.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import DecodeError

from services.chassis.errors import (
    BadRequest,
    DataLoss,
    Draining,
    FeedmeshError,
    Internal,
    NotReady,
    TooLate,
)
from services.chassis.process import ProcessConfig
from services.chassis.rpc.context import (
    REQUEST_ID_KEY,
    TOKEN_KEY,
    CallContext,
    current,
    enter,
    request_id_from,
)
from services.chassis.rpc.status import RpcStatus, code_of, to_rpc

Gate = Callable[[bytes, float], None]
"""Waits until this replica has applied the positions of a token (bytes), at most so many seconds; raises
StaleReplica, TokenAhead or InvalidToken."""

SYSTEM_PREFIXES: Final = ("/grpc.health.", "/grpc.reflection.")
"""Methods outside the envelope."""

UNREADABLE: Final = object()
"""Stands for a request whose bytes are no such message. grpcio itself would answer INTERNAL, as if the fault
were the server's, and count nothing."""

_TOKEN_WAIT_SHARE: Final = 0.75
"""Part of a call's time that it may wait for its token's positions. With the whole of it the caller would be
gone before it hears why, or before another replica could be asked."""

_NO_DEADLINE_S: Final = 1e6
"""grpcio reports 'no deadline' as a time centuries away."""


class Phase(Enum):
    """Where a process is in its life; calls are served in SERVING only."""

    STARTING = 0
    SERVING = 1
    DRAINING = 2
    REFUSING = 3


class Envelope:
    """The shared steps of one server. `phase` is set by the lifecycle; before REFUSING, `refusal`."""

    def __init__(
        self,
        config: ProcessConfig,
        *,
        gate: Gate | None,
        stale_ms: Callable[[], int] | None = None,
        log: Any = None,
    ) -> None:
        self.phase = Phase.STARTING
        self.refusal: FeedmeshError | None = None
        self.stale_ms = stale_ms
        """For how long the log has been silent, when answers are to say so; else 0. None: never."""
        self._gate = gate
        self._log = log if log is not None else structlog.get_logger()
        self._reserve_s = config.deadline_reserve_ms / 1000
        self._default_s = config.deadline_default_ms / 1000
        self._token_wait_s_max = config.token_wait_ms_max / 1000

    def begin(self, metadata: Iterable[Any], seconds_left: float | None, *, streaming: bool = False) -> None:
        """Enter the call's context and check that it may start. Blocks in the gate only.

        Raises NotReady, Draining, `refusal`, TooLate, and what the gate raises.
        """
        call = self._context(metadata, seconds_left, streaming=streaming)
        enter(call)
        if self.phase is not Phase.SERVING:
            raise self._not_serving()
        left_s = call.seconds_left()
        if left_s is not None and left_s <= 0:
            raise TooLate("too little time is left to answer; send a longer deadline")
        if call.token is not None and self._gate is not None:
            wait_s = self._token_wait_s_max
            self._gate(call.token, wait_s if left_s is None else min(wait_s, left_s * _TOKEN_WAIT_SHARE))

    def check_open(self) -> None:
        """Between two messages of a stream: raises Draining when it should end."""
        if self.phase is Phase.DRAINING:
            raise self._not_serving()

    def failure(self, method: str, error: BaseException) -> RpcStatus:
        """The status for `error`; logs what its caller is not told."""
        if isinstance(error, (Internal, DataLoss)) or code_of(type(error)) is grpc.StatusCode.INTERNAL:
            self._log.error("call failed", method=method, exc_info=error)
        call = current()
        return to_rpc(error, request_id=call.request_id if call else "")

    def _not_serving(self) -> FeedmeshError:
        phase, refusal = self.phase, self.refusal
        if phase is Phase.DRAINING:
            return Draining("this replica is stopping; ask another")
        if phase is Phase.REFUSING and refusal is not None:
            # Not the one instance: threads that raise it would grow its trace.
            return type(refusal)(refusal.message, **refusal.facts)
        return NotReady("this replica is starting; ask another, or wait")

    def _context(
        self, metadata: Iterable[Any], seconds_left: float | None, *, streaming: bool
    ) -> CallContext:
        request_id: str | bytes | None = None
        token: bytes | None = None
        for key, value in metadata:
            if key == REQUEST_ID_KEY:
                request_id = value
            elif key == TOKEN_KEY:
                token = value
        if seconds_left is None or seconds_left > _NO_DEADLINE_S:
            deadline = None if streaming else time.monotonic() + self._default_s
        else:
            deadline = time.monotonic() + seconds_left - self._reserve_s
        return CallContext(request_id_from(request_id), deadline, token)


def reading(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """`deserialize` that answers UNREADABLE where it would raise; `check_readable` raises in its place."""

    def read(data: bytes) -> Any:
        try:
            return data if deserialize is None else deserialize(data)
        except DecodeError:
            return UNREADABLE

    return read


def check_readable(request: Any) -> None:
    """Raises BadRequest for UNREADABLE."""
    if request is UNREADABLE:
        raise BadRequest("the request's bytes are not a message of this method; send it as its proto says")
