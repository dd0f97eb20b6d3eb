"""The one tree of errors: the domain raises these, and never a gRPC code.

    FeedmeshError
    ├── BadRequest          INVALID_ARGUMENT     change the request
    │   ├── InvalidId, InvalidToken, InvalidCursor, InvalidColumns
    │   └── LimitExceeded, UnknownEnum
    ├── TokenAhead          OUT_OF_RANGE         the token is of positions that this log has not reached
    ├── NotFound            NOT_FOUND
    ├── WrongShard          FAILED_PRECONDITION  read the shard map again, ask its owner
    ├── Unavailable         UNAVAILABLE          try another replica
    │   └── NotReady, Draining, LogUnavailable, StaleReplica, ShardLost
    ├── Exhausted           RESOURCE_EXHAUSTED   wait `retry_after_ms`, then try again
    │   └── QueueFull, DiskFull
    ├── TooLate             DEADLINE_EXCEEDED    raised before the work starts
    ├── Cancelled           CANCELLED            the caller went away
    ├── DataLoss            DATA_LOSS            a checksum or an undecodable value
    │   └── CorruptValue, OffsetOutOfRange
    ├── Internal            INTERNAL             fixed text to the caller, the trace in the log only
    │   └── StorageFault
    ├── PoisonRecord        (never crosses RPC)  raised by a view's decode; goes to the dead letters
    └── ConfigFaults        (never crosses RPC)  every fault of a configuration, together

A class is chosen by what the caller should do next. `rpc/status.py` maps the tree to gRPC and back.
A service may add subclasses beside its domain; they inherit their parent's code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar


class FeedmeshError(Exception):
    """The root: a message that says what is wrong and what to do, and facts for machines.

    `reason` is the class name in UPPER_SNAKE and identifies the class across processes, so two classes
    must not share a name. Fact values are turned into text; they are public, so keep secrets out. A subclass
    keeps this constructor: a client builds it from the message and the facts.
    """

    reason: ClassVar[str] = "FEEDMESH_ERROR"
    by_reason: ClassVar[dict[str, type[FeedmeshError]]] = {}

    def __init__(self, message: str = "", /, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts: dict[str, str] = {key: str(value) for key, value in facts.items()}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.reason = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).upper()
        # The first class of a name wins: a later namesake (a test's, a service's) must not change
        # which class a client raises. The test of the tree fails on namesakes.
        FeedmeshError.by_reason.setdefault(cls.reason, cls)


class BadRequest(FeedmeshError):
    """The request can never succeed as it is."""


class InvalidId(BadRequest):
    """An id is 0, or is not of the kind that the field wants."""


class InvalidToken(BadRequest):
    """A consistency token is damaged, of another version, or of another log."""


class InvalidCursor(BadRequest):
    """A page cursor is damaged, or belongs to another request."""


class InvalidColumns(BadRequest):
    """Packed columns are ragged, or of unequal length."""


class LimitExceeded(BadRequest):
    """A list, a page or a message is larger than its documented limit."""


class UnknownEnum(BadRequest):
    """An enum value is unspecified, or unknown to this version."""


class TokenAhead(FeedmeshError):
    """The token names positions that the log does not have: it is of another log, or the log lost data."""


class NotFound(FeedmeshError):
    """The one thing that the request names does not exist."""


class WrongShard(FeedmeshError):
    """This process does not serve a shard of the request: the caller's shard map, or ours, is old."""


class Unavailable(FeedmeshError):
    """This replica cannot answer now; another may."""


class NotReady(Unavailable):
    """Starting: not warm, or not caught up with the log."""


class Draining(Unavailable):
    """Stopping: answers what it has begun, begins nothing."""


class LogUnavailable(Unavailable):
    """The log cannot be reached."""


class StaleReplica(Unavailable):
    """The replica did not reach the token's positions in the time given."""


class ShardLost(Unavailable):
    """The log no longer has what this replica's view of the shard lacks; waiting does not bring it."""


class Exhausted(FeedmeshError):
    """This process has no room; `retry_after_ms` says when to come back."""

    retry_after_ms: int = 100


class QueueFull(Exhausted):
    """More calls in flight than threads and queue can hold."""


class DiskFull(Exhausted):
    """The disk is full: waiting a little does not help, so the hint is long."""

    retry_after_ms = 10_000


class TooLate(FeedmeshError):
    """Too little time is left to answer; the work was not started."""


class Cancelled(FeedmeshError):
    """The caller cancelled."""


class DataLoss(FeedmeshError):
    """Stored bytes are wrong or gone; trying again does not help."""


class CorruptValue(DataLoss):
    """A checksum does not match, or a stored value cannot be decoded."""


class OffsetOutOfRange(DataLoss):
    """The log was trimmed past the offset: restore a newer checkpoint."""


class Internal(FeedmeshError):
    """A fault of ours. The caller sees a fixed text."""


class StorageFault(Internal):
    """The storage engine failed in a way that is neither a full disk nor corruption."""


class PoisonRecord(FeedmeshError):
    """A log record that makes no sense to a view; followers skip it and publish it to the dead letters."""


class ConfigFaults(FeedmeshError):
    """Every fault of a configuration, one line each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults: tuple[str, ...] = tuple(faults)
