"""What a client needs to know of an RPC, as one typed value; channels and routers take it as an argument.

    RETRIEVE = Method("/feedmesh.polaris.v1.PolarisService/Retrieve", RetrieveRequest, RetrieveResponse)

A value rather than a generated stub, because one router call becomes calls on many hosts' channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from services.chassis.rpc.context import REQUEST_ID_KEY, TOKEN_KEY, CallContext

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Response]):
    """One RPC. `idempotent`: may be sent again after UNAVAILABLE, when the first may have been executed."""

    path: str
    request: type[Request]
    response: type[Response]
    idempotent: bool = True

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or self.path.count("/") != 2:
            raise ValueError(f"{self.path!r} is not /package.Service/Method")


def outgoing(
    call: CallContext | None, *, timeout_s: float | None, default_s: float
) -> tuple[float, tuple[tuple[str, str | bytes], ...]]:
    """Timeout and metadata of a call made while serving `call`.

    The timeout is the least of `timeout_s` (absent: `default_s`) and what is left of the incoming call; it
    may be zero or less, and such a call is not worth sending.
    """
    timeout = default_s if timeout_s is None else timeout_s
    if call is None:
        return timeout, ()
    left_s = call.seconds_left()
    if left_s is not None:
        timeout = min(timeout, left_s)
    if call.token is None:
        return timeout, ((REQUEST_ID_KEY, call.request_id),)
    return timeout, ((REQUEST_ID_KEY, call.request_id), (TOKEN_KEY, call.token))
