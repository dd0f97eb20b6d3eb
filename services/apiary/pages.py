"""Owns page tokens: where the next page of one list begins.

A token says which list it is of (mapping and source) and the last row that was answered, so pages neither
repeat nor leave out rows that were there before the first page; rows that are newer are not shown.
Opaque to clients, checked by a CRC against damage, not against intent: it opens nothing that a plain
request would not. Refuses damaged tokens and those of another list (InvalidCursor).
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from dataclasses import dataclass
from typing import Final

from services.apiary.graph import Mapping
from services.chassis.errors import InvalidCursor

_VERSION: Final = 1
_BODY: Final = struct.Struct(">BBQQQ")
_CRC: Final = struct.Struct(">I")
TOKEN_CHARS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Place:
    """The last row of a page."""

    time_ms: int
    id: int


def encode_token(mapping: Mapping, source: int, place: Place) -> str:
    """A token for the rows after `place`."""
    body = _BODY.pack(_VERSION, mapping, source, place.time_ms, place.id)
    return base64.urlsafe_b64encode(body + _CRC.pack(zlib.crc32(body))).decode().rstrip("=")


def decode_token(token: str, mapping: Mapping, source: int) -> Place | None:
    """The place that a token of this list says; None for the first page.

    Raises InvalidCursor.
    """
    if not token:
        return None
    damaged = InvalidCursor("page_token is damaged: send next_page_token as it was answered, or begin anew")
    if len(token) > TOKEN_CHARS_MAX:
        raise damaged
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise damaged from error
    body, crc = data[: -_CRC.size], data[-_CRC.size :]
    if len(body) != _BODY.size or _CRC.pack(zlib.crc32(body)) != crc:
        raise damaged
    version, of_mapping, of_source, time_ms, id = _BODY.unpack(body)
    if (version, of_mapping, of_source) != (_VERSION, mapping, source):
        raise InvalidCursor("page_token is of another list: begin this one without a token")
    return Place(time_ms, id)
