"""Records as JSON that a person can read; bytes that are no record say so, and lose nothing.

Ids of 64 bits are strings, as protobuf's JSON has them: a JSON number would round them.
"""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from feedmesh.log.v1 import record_pb2
from services.chassis.log.log import DEAD_LETTERS


def readable(topic: str, partition: int, offset: int, value: bytes) -> dict[str, Any]:
    """One record of the log, with its place."""
    place: dict[str, Any] = {"topic": topic, "partition": partition, "offset": offset}
    kind = record_pb2.DeadLetter if topic == DEAD_LETTERS else record_pb2.Record
    try:
        message = kind.FromString(value)
    except DecodeError:
        return place | {
            "undecodable": f"not a {kind.__name__}",
            "value_base64": base64.b64encode(value).decode(),
        }
    document = MessageToDict(message, preserving_proto_field_name=True)
    if isinstance(message, record_pb2.DeadLetter):
        # What it was about, not its bytes.
        document["value"] = readable(message.topic, message.partition, message.offset, message.value)
        return place | {"dead_letter": document}
    return place | {"record": document}
