"""The consistency token: which positions a read must have applied to see a write.

    version u8 | crc32 u32 of the rest | log id | topic count u8 |
    each topic: name | position count u16 | each position: partition u16, offset u48

Little-endian; names are a length u8 and UTF-8; topics and partitions ascend, so one set of positions has
one encoding. Fixed widths, because every read that carries a token decodes it. Opaque to clients, who may
only pass it on or merge it (`Token.merge`, the later offset of each partition wins). Refuses what is
damaged, unknown, too large, or of two logs (InvalidToken). The checksum guards against accidents; a forged
token can make a read wait, no more.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from services.chassis.errors import InvalidToken
from services.chassis.log.log import Positions

TOKEN_BYTES_MAX: Final = 6_000
"""gRPC refuses metadata beyond 8 KB as a whole, by default, and some clients send these bytes as base64."""
OFFSET_MAX: Final = (1 << 48) - 1

_VERSION = 1
_HEADER_BYTES = 5
_POSITION = struct.Struct("<HIH")
"""Partition, low 32 and high 16 bits of the offset."""
_LOW = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Token:
    """Positions of one log. Treat `positions` as immutable."""

    log_id: str
    positions: Positions

    def encode(self) -> bytes:
        """The token as bytes for metadata. Raises InvalidToken beyond `TOKEN_BYTES_MAX`."""
        if self.positions and max(self.positions.values()) > OFFSET_MAX:
            raise InvalidToken(f"a token's offsets are at most {OFFSET_MAX}")
        by_topic: dict[str, list[tuple[int, int]]] = {}
        for (topic, partition), offset in self.positions.items():
            by_topic.setdefault(topic, []).append((partition, offset))
        pack = _POSITION.pack
        parts = [_text(self.log_id), bytes((len(by_topic),))]
        for topic, places in sorted(by_topic.items()):
            parts += (_text(topic), len(places).to_bytes(2, "little"))
            parts += [pack(partition, offset & _LOW, offset >> 32) for partition, offset in sorted(places)]
        body = b"".join(parts)
        encoded = bytes((_VERSION,)) + zlib.crc32(body).to_bytes(4, "little") + body
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
        previous_topic: str | None = None
        for _ in range(self._take(1)[0]):
            topic = self._text()
            if previous_topic is not None and topic <= previous_topic:
                raise _malformed()
            previous_topic = topic
            count = int.from_bytes(self._take(2), "little")
            previous = -1
            for partition, low, high in _POSITION.iter_unpack(self._take(count * _POSITION.size)):
                if partition <= previous:
                    raise _malformed()
                previous = partition
                positions[topic, partition] = low | high << 32
            if not count:
                raise _malformed()
        if self._at != len(self._data):
            raise _malformed()
        return Token(log_id, positions)

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise _malformed()
        self._at += count
        return taken

    def _text(self) -> str:
        try:
            return self._take(self._take(1)[0]).decode()
        except UnicodeDecodeError:
            raise _malformed() from None


def _malformed() -> InvalidToken:
    return InvalidToken("token is malformed; pass it on byte for byte as Publish returned it")


def _text(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > 255:
        raise InvalidToken(f"{text[:20]!r}… is longer than the 255 bytes of a name in a token")
    return bytes((len(raw),)) + raw
