"""A dead letter's record, ready to be written once more for the service that buried it.

The other followers of its topic have applied it already, maybe so long ago that they have forgotten its id;
so the record is addressed (`only_for`), and of the version that knows that field. Its id is made of the old
one and of the letter's place, so a letter that is replayed twice counts once. Pure.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from feedmesh.log.v1 import record_pb2
from services.chassis.errors import BadRequest
from services.chassis.ids import mix64
from services.chassis.log.log import NewRecord
from services.chassis.log.records import ADDRESSED_VERSION


def replayed(letter: record_pb2.DeadLetter, *, offset: int) -> NewRecord:
    """The record of the letter at `offset` of `dead-letters`.

    Raises:
        BadRequest: its bytes are no record, nobody is named who buried it, or it was for somebody else.
    """
    if not letter.service:
        raise BadRequest("the dead letter does not say which service buried it, so nobody can apply it again")
    try:
        record = record_pb2.Record.FromString(letter.value)
    except DecodeError as fault:
        raise BadRequest(
            f"the bytes at {letter.topic}/{letter.partition} offset {letter.offset} are not a record: no fix "
            f"of {letter.service} can read them; publish the event again instead"
        ) from fault
    if record.only_for not in ("", letter.service):
        # A service that does not know `only_for` yet buries what is for others, too.
        raise BadRequest(
            f"the record at {letter.topic}/{letter.partition} offset {letter.offset} is a replay for "
            f"{record.only_for} alone: {letter.service} has nothing to apply"
        )
    record.only_for = letter.service
    record.version = max(record.version, ADDRESSED_VERSION)
    record.record_id ^= mix64(offset + 1)
    return NewRecord(letter.topic, letter.partition, record.SerializeToString())
