"""Peers of `counts`: Redis with the same counts, twice.

As one packed value for each entity (four uint16), read with one MGET, which is the best that Redis can do;
and as one hash for each entity, read with a pipeline of HMGETs, which is how it is usually done. By hiredis
on a bare socket, and the pipeline by redis-py, too. Redis' own server over a unix socket, its fastest way in;
without persistence, as it comes.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tests.bench.rows_peers import REDIS_SERVER

_READ_BYTES: Final = 1 << 20
_LOAD_ENTITIES: Final = 5_000


class CountsInRedis:
    """A server with the counts, and its clients. Every read gives float32 of shape (entity, counter)."""

    def __init__(self, pid: int, path: Path) -> None:
        # Here, because only benchmarks need them.
        import hiredis
        import redis

        self.pid = pid
        # As Any: its types know commands of one word alone.
        self._pack: Any = hiredis.pack_command
        self._reader = hiredis.Reader()
        self._client: Any = redis.Redis(unix_socket_path=str(path))
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))

    def load(self, entities: NDArray[np.uint64], counts: NDArray[np.uint16]) -> None:
        """Set both forms of every entity's counts."""
        fields = _fields(counts.shape[1])
        for start in range(0, len(entities), _LOAD_ENTITIES):
            part = slice(start, start + _LOAD_ENTITIES)
            packed = [row.tobytes() for row in counts[part]]
            pairs = [each for pair in zip(_keys(b"c", entities[part]), packed, strict=True) for each in pair]
            commands = [self._pack((b"MSET", *pairs))]
            for key, row in zip(_keys(b"h", entities[part]), counts[part].tolist(), strict=True):
                values = [each for pair in zip(fields, row, strict=True) for each in pair]
                commands.append(self._pack((b"HSET", key, *values)))
            self._replies(commands)

    def mget(self, entities: NDArray[np.uint64]) -> NDArray[np.float32]:
        """One MGET of packed values, by hiredis on a bare socket."""
        (values,) = self._replies([self._pack((b"MGET", *_keys(b"c", entities)))])
        return np.frombuffer(b"".join(values), "<u2").reshape(len(entities), -1).astype(np.float32)

    def hmget(self, entities: NDArray[np.uint64], *, counter_count: int = 4) -> NDArray[np.float32]:
        """A pipeline of HMGETs, by hiredis on a bare socket."""
        pack, fields = self._pack, _fields(counter_count)
        replies = self._replies([pack((b"HMGET", key, *fields)) for key in _keys(b"h", entities)])
        return np.array(replies, "S8").astype(np.float32)

    def hmget_by_redis_py(
        self, entities: NDArray[np.uint64], *, counter_count: int = 4
    ) -> NDArray[np.float32]:
        """The same pipeline by redis-py, whose parser is hiredis."""
        pipeline, fields = self._client.pipeline(transaction=False), _fields(counter_count)
        for key in _keys(b"h", entities):
            pipeline.execute_command("HMGET", key, *fields)
        return np.array(pipeline.execute(), "S8").astype(np.float32)

    def close(self) -> None:
        self._client.close()
        self._socket.close()

    def _replies(self, commands: list[bytes]) -> list[Any]:
        """Send all and read as many replies. Redis buffers what we do not read yet."""
        self._socket.sendall(b"".join(commands))
        replies: list[Any] = []
        while len(replies) < len(commands):
            reply = self._reader.gets()
            if reply is False:
                self._reader.feed(self._socket.recv(_READ_BYTES))
                continue
            if isinstance(reply, Exception):
                raise reply
            replies.append(reply)
        return replies


@contextmanager
def running_redis(folder: Path) -> Iterator[CountsInRedis]:
    """A Redis of its own; ended with the block."""
    folder.mkdir(parents=True)
    path = folder / "redis.sock"
    command = [REDIS_SERVER, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        server = CountsInRedis(process.pid, path)
        yield server
        server.close()
    finally:
        process.terminate()
        process.wait()


def _keys(prefix: bytes, entities: NDArray[np.uint64]) -> list[bytes]:
    return [prefix + entity for entity in entities.view("V8").tolist()]


def _fields(count: int) -> list[bytes]:
    return [b"%d" % field for field in range(count)]
