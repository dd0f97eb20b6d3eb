"""Peers of `rows`: Redis with the same rows as packed values, read with MGET by two clients, and pipelined.

Redis' own server over loopback, as ours; without persistence, with one thread, as it comes.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any, Final

import numpy as np
from ephemeral_port_reserve import reserve
from numpy.typing import NDArray

REDIS_SERVER: Final = which("redis-server") or "redis-server"
_READ_BYTES: Final = 1 << 18
_LOAD_ROWS: Final = 10_000


def why_redis_is_not_here() -> str:
    """Empty when it is."""
    if which("redis-server") is None:
        return "redis-server is not on PATH"
    try:
        import hiredis  # noqa: F401  only this benchmark needs it
        import redis  # noqa: F401
    except ImportError:
        return "install redis and hiredis beside the development tools"
    return ""


class Redis:
    """A server with the rows, and its clients."""

    def __init__(self, pid: int, port: int) -> None:
        import hiredis
        import redis

        self.pid = pid
        self._pack: Any = hiredis.pack_command
        self._client: Any = redis.Redis(port=port)
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def load(self, ids: NDArray[np.uint64], features: NDArray[np.float32]) -> None:
        """Set one packed value for each row."""
        for start in range(0, len(ids), _LOAD_ROWS):
            part = slice(start, start + _LOAD_ROWS)
            values = [row.tobytes() for row in features[part]]
            self._client.mset(dict(zip(_keys(ids[part]), values, strict=True)))

    def mget(self, ids: NDArray[np.uint64]) -> NDArray[np.float32]:
        """By redis-py, with hiredis as its parser."""
        return _matrix(self._client.mget(_keys(ids)))

    def pipelined(self, ids: NDArray[np.uint64]) -> NDArray[np.float32]:
        """A pipeline of GETs by redis-py."""
        pipeline = self._client.pipeline(transaction=False)
        for key in _keys(ids):
            pipeline.get(key)
        return _matrix(pipeline.execute())

    def bare_mget(self, ids: NDArray[np.uint64]) -> NDArray[np.float32]:
        """By hiredis on a bare socket: no client library at all."""
        self._socket.sendall(self._pack((b"MGET", *_keys(ids))))
        return _matrix(self._reply())

    def bare_pipelined(self, ids: NDArray[np.uint64]) -> NDArray[np.float32]:
        """A pipeline of GETs by hiredis on a bare socket."""
        pack = self._pack
        self._socket.sendall(b"".join([pack((b"GET", key)) for key in _keys(ids)]))
        return _matrix([self._reply() for _ in range(len(ids))])

    def close(self) -> None:
        self._client.close()
        self._socket.close()

    def _reply(self) -> Any:
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(_READ_BYTES))
        return reply


@contextmanager
def running_redis(folder: Path) -> Iterator[Redis]:
    """A Redis of its own; ended with the block."""
    folder.mkdir(parents=True)
    port = reserve()
    command = [REDIS_SERVER, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_for(port)
        server = Redis(process.pid, port)
        yield server
        server.close()
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _keys(ids: NDArray[np.uint64]) -> list[bytes]:
    keys: list[bytes] = ids.view("V8").tolist()
    return keys


def _matrix(values: list[bytes]) -> NDArray[np.float32]:
    return np.frombuffer(b"".join(values), "<f4").reshape(len(values), -1)
