"""The consistency token: which positions a read must have applied to see a write.

    version u8 | crc32 u32 (little-endian, of the rest) | log id | topic count |
    each topic: name, position count, each position: partition - previous partition, offset

Strings are a varint length and UTF-8; numbers are varints; topics and partitions ascend, so one set of
positions has one encoding. Opaque to clients, who may only pass it on or merge it (`Token.merge`, the
later offset of each partition wins). Refuses what is damaged, unknown, too large, or of two logs
(InvalidToken). The checksum guards against accidents; a forged token can make a read wait, no more.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from services.chassis.errors import InvalidToken
from services.chassis.log.log import Positions

TOKEN_BYTES_MAX: Final = 6_000
"""gRPC refuses metadata beyond 8 KB as a whole, by default; base64 is not needed between HTTP/2 peers."""

_VERSION = 1
_HEADER_BYTES = 5
_VARINT_BYTES_MAX = 10
_U64_MAX = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Token:
    """Positions of one log. Treat `positions` as immutable."""

    log_id: str
    positions: Positions

    def encode(self) -> bytes:
        """The token as bytes for metadata. Raises InvalidToken beyond `TOKEN_BYTES_MAX`."""
        body = bytearray()
        _put_text(body, self.log_id)
        topics = [
            (topic, list(group))
            for topic, group in groupby(sorted(self.positions.items()), lambda p: p[0][0])
        ]
        _put_varint(body, len(topics))
        for topic, places in topics:
            _put_text(body, topic)
            _put_varint(body, len(places))
            previous = 0
            for (_, partition), offset in places:
                _put_varint(body, partition - previous)
                _put_varint(body, offset)
                previous = partition
        encoded = bytes((_VERSION,)) + zlib.crc32(body).to_bytes(4, "little") + bytes(body)
        if len(encoded) > TOKEN_BYTES_MAX:
            raise InvalidToken(
                f"a token of {len(self.positions)} positions needs {len(encoded)} bytes, at most "
                f"{TOKEN_BYTES_MAX} travel; merge fewer tokens, or use fewer partitions"
            )
        return encoded

    @staticmethod
    def decode(data: bytes) -> Token:
        """The token in `data`. Raises InvalidToken."""
        if len(data) > TOKEN_BYTES_MAX:
            raise InvalidToken(f"token has {len(data)} bytes, at most {TOKEN_BYTES_MAX} are allowed")
        if len(data) < _HEADER_BYTES:
            raise InvalidToken("token is too short; pass it on byte for byte as Publish returned it")
        if data[0] != _VERSION:
            raise InvalidToken(f"token version {data[0]} is not known here, only {_VERSION}")
        if int.from_bytes(data[1:_HEADER_BYTES], "little") != zlib.crc32(data[_HEADER_BYTES:]):
            raise InvalidToken("token is damaged: its checksum differs; pass it on byte for byte")
        return _Reader(data).token()

    def merge(self, other: Token) -> Token:
        """A token that waits for both. Raises InvalidToken when they are of different logs."""
        self.check_log(other.log_id)
        merged = dict(self.positions)
        for place, offset in other.positions.items():
            merged[place] = max(offset, merged.get(place, 0))
        return Token(self.log_id, merged)

    def check_log(self, log_id: str) -> None:
        """Raises InvalidToken unless the token is of the log `log_id`."""
        if self.log_id != log_id:
            raise InvalidToken(
                f"token is of log {self.log_id!r}, this is log {log_id!r}: drop tokens of another cluster, "
                "or from before the log was made anew",
                token_log=self.log_id,
                log=log_id,
            )


class _Reader:
    """Reads a body whose checksum was right; what it refuses was made wrong, not damaged on the way."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = _HEADER_BYTES

    def token(self) -> Token:
        log_id = self._text()
        positions: Positions = {}
        previous_topic = ""
        for _ in range(self._varint()):
            topic = self._text()
            if topic <= previous_topic:
                raise _malformed()
            previous_topic = topic
            partition = -1
            for _ in range(self._varint()):
                step = self._varint()
                if partition >= 0 and step == 0:
                    raise _malformed()
                partition = max(partition, 0) + step
                positions[topic, partition] = self._varint()
        if self._at != len(self._data):
            raise _malformed()
        return Token(log_id, positions)

    def _varint(self) -> int:
        value = shift = 0
        for _ in range(_VARINT_BYTES_MAX):
            if self._at >= len(self._data):
                raise _malformed()
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value > _U64_MAX:
                    raise _malformed()
                return value
            shift += 7
        raise _malformed()

    def _text(self) -> str:
        length = self._varint()
        end = self._at + length
        raw = self._data[self._at : end]
        if end > len(self._data):
            raise _malformed()
        self._at = end
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise _malformed() from None


def _malformed() -> InvalidToken:
    return InvalidToken("token is malformed; pass it on byte for byte as Publish returned it")


def _put_varint(into: bytearray, value: int) -> None:
    while value >= 0x80:
        into.append(value & 0x7F | 0x80)
        value >>= 7
    into.append(value)


def _put_text(into: bytearray, text: str) -> None:
    raw = text.encode()
    _put_varint(into, len(raw))
    into += raw
