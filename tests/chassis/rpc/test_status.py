"""Errors cross the wire and come back as the class that was raised."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from services.chassis import errors
from services.chassis.errors import FeedmeshError
from services.chassis.rpc.status import CODES, INTERNAL_TEXT, RpcStatus, from_rpc, raise_from_rpc, to_rpc
from tests.chassis.test_errors import TREE


class Failed(grpc.RpcError):
    """A failed call as a client sees it."""

    def __init__(self, status: RpcStatus) -> None:
        super().__init__()
        self._status = status

    def code(self) -> grpc.StatusCode:
        return self._status.code

    def details(self) -> str:
        return self._status.message

    def trailing_metadata(self) -> Any:
        return self._status.trailing_metadata


PUBLIC = [cls for cls in TREE if CODES.get(cls) is not grpc.StatusCode.INTERNAL]
PUBLIC = [cls for cls in PUBLIC if not issubclass(cls, errors.Internal)]


@pytest.mark.parametrize("cls", PUBLIC, ids=lambda cls: cls.__name__)
def test_a_client_raises_what_the_server_raised(cls: type[FeedmeshError]) -> None:
    with pytest.raises(cls) as raised:
        raise_from_rpc(Failed(to_rpc(cls("what to do", id=7))))
    assert type(raised.value) is cls
    assert (raised.value.message, raised.value.facts) == ("what to do", {"id": "7"})


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError("secret"), errors.StorageFault("secret"), errors.PoisonRecord("secret")],
    ids=lambda error: type(error).__name__,
)
def test_an_internal_error_tells_nothing_but_the_request_id(error: Exception) -> None:
    status = to_rpc(error, request_id="abc")
    assert (status.code, status.message) == (grpc.StatusCode.INTERNAL, INTERNAL_TEXT)
    assert b"secret" not in b"".join(bytes(value) for _, value in status.trailing_metadata)  # type: ignore[arg-type]
    back = from_rpc(Failed(status))
    assert type(back) is errors.Internal
    assert back.facts == {"request_id": "abc"}


def test_exhausted_says_when_to_come_back() -> None:
    ((_, details),) = to_rpc(errors.DiskFull("disk full")).trailing_metadata
    status = status_pb2.Status.FromString(details)
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details if detail.Is(retry.DESCRIPTOR))
    assert retry.retry_delay.ToMilliseconds() == errors.DiskFull.retry_after_ms


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.TooLate),
        (grpc.StatusCode.UNIMPLEMENTED, errors.Internal),
        (grpc.StatusCode.UNKNOWN, errors.Internal),
    ],
    ids=["unavailable", "deadline", "unimplemented", "unknown"],
)
def test_a_status_made_by_grpc_itself_becomes_the_class_of_its_code(
    code: grpc.StatusCode, cls: type[FeedmeshError]
) -> None:
    back = from_rpc(Failed(RpcStatus(code, "connection refused", ())))
    assert type(back) is cls
    assert back.message == "connection refused"


def with_info(code: grpc.StatusCode, reason: str, domain: str = "feedmesh") -> Failed:
    status = status_pb2.Status(code=code.value[0], message="m")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
    return Failed(RpcStatus(code, "m", rpc_status.to_status(status).trailing_metadata))


def test_an_unknown_reason_falls_back_to_the_branch_of_its_code() -> None:
    assert type(from_rpc(with_info(grpc.StatusCode.NOT_FOUND, "BOARD_NOT_FOUND_2031"))) is errors.NotFound


def test_a_reason_of_another_branch_is_not_believed() -> None:
    assert type(from_rpc(with_info(grpc.StatusCode.NOT_FOUND, "QUEUE_FULL"))) is errors.NotFound


def test_the_reason_of_a_stranger_is_not_ours() -> None:
    assert type(from_rpc(with_info(grpc.StatusCode.UNAVAILABLE, "DRAINING", "x.io"))) is errors.Unavailable


def test_damaged_details_do_not_hide_the_code() -> None:
    metadata = (("grpc-status-details-bin", b"\xff\xff\xff"),)
    assert type(from_rpc(Failed(RpcStatus(grpc.StatusCode.NOT_FOUND, "m", metadata)))) is errors.NotFound
