"""The one table between errors and gRPC, both ways.

Out: code, message, and google.rpc.Status details: `ErrorInfo` (reason, facts) and, when exhausted,
`RetryInfo`; a loss that waiting does not cure also tells gRPC not to retry. Back: the class with that reason,
so a client raises what it would have raised locally; a status without our `ErrorInfo` (made by gRPC itself,
or by a stranger) becomes the class of its code. An unknown exception is INTERNAL with a fixed text: its
message may hold anything, so it goes to the log.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, NoReturn

import grpc
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from services.chassis import errors
from services.chassis.errors import FeedmeshError

DOMAIN: Final = "feedmesh"
INTERNAL_TEXT: Final = "internal error; the server's log has the trace under this request id"

CODES: Final[dict[type[FeedmeshError], grpc.StatusCode]] = {
    errors.BadRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TokenAhead: grpc.StatusCode.OUT_OF_RANGE,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.WrongShard: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooLate: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.DataLoss: grpc.StatusCode.DATA_LOSS,
    errors.Internal: grpc.StatusCode.INTERNAL,
    # These two never leave a process on purpose; if one does, it is a fault of ours.
    errors.PoisonRecord: grpc.StatusCode.INTERNAL,
    errors.ConfigFaults: grpc.StatusCode.INTERNAL,
}
"""Branch of the tree → code. A subclass has its nearest ancestor's."""

_DO_NOT_RETRY: Final = ("grpc-retry-pushback-ms", "-1")
"""Told to gRPC's own retries, which would ask the same host again."""

_CLASSES: Final[dict[grpc.StatusCode, type[FeedmeshError]]] = {
    # Reversed, so that the first class of a code wins: Internal, not PoisonRecord.
    code: cls
    for cls, code in reversed(CODES.items())
}


class RpcStatus(NamedTuple):
    """What goes on the wire."""

    code: grpc.StatusCode
    message: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def code_of(cls: type[BaseException]) -> grpc.StatusCode:
    """The code of an error class; INTERNAL for anything outside the tree."""
    for ancestor in cls.__mro__:
        if ancestor in CODES:
            return CODES[ancestor]
    return grpc.StatusCode.INTERNAL


def to_rpc(error: BaseException, *, request_id: str = "") -> RpcStatus:
    """The status that tells `error` to a caller."""
    code = code_of(type(error))
    reason, message, facts = errors.Internal.reason, INTERNAL_TEXT, {"request_id": request_id}
    if isinstance(error, FeedmeshError) and code is not grpc.StatusCode.INTERNAL:
        reason, message, facts = error.reason, error.message, error.facts
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=facts))
    if isinstance(error, errors.Exhausted):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(error.retry_after_ms)
        status.details.add().Pack(retry)
    trailing = rpc_status.to_status(status).trailing_metadata
    if isinstance(error, errors.ShardLost):
        trailing = (*trailing, _DO_NOT_RETRY)
    return RpcStatus(code, message, trailing)


def from_rpc(error: Any) -> FeedmeshError:
    """The local error that a failed call (a `grpc.RpcError` of either world) stands for. Never raises."""
    code, branch = error.code(), _CLASSES.get(error.code(), errors.Internal)
    message = error.details() or code.name
    info = _error_info(error)
    if info is None:
        return branch(message, code=code.name)
    # A newer server's class is unknown here: its branch still says what to do next.
    known = FeedmeshError.by_reason.get(info.reason, branch)
    return (known if issubclass(known, branch) else branch)(message, **dict(info.metadata))


def raise_from_rpc(error: Any) -> NoReturn:
    """Raise the local error that a failed call stands for."""
    raise from_rpc(error) from error


def _error_info(error: Any) -> error_details_pb2.ErrorInfo | None:
    try:
        status = rpc_status.from_call(error)
    except Exception:  # noqa: BLE001  damaged details must not hide the code
        return None
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == DOMAIN:
            return info
    return None
