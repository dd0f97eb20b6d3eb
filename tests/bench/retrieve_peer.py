"""Peer of `retrieve`: the same retrieval by hand, over Redis and numpy, as one would write it who knows both.

One packed string a board, 16 bytes a pin: id u64, key f32, saved u32; the key is computed when a pin is
written (the decay is exponential, so the order of pins never changes), and no exponential is left for the
request. One MGET brings the 500 boards and the user's seen pins, sorted. By hiredis on a unix socket, Redis'
fastest way in, without persistence. Only what could still enter the best is looked up among the seen.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIN = np.dtype([("id", "<u8"), ("key", "<f4"), ("saved_at", "<u4")])
_READ_BYTES = 1 << 20
_LOAD_KEYS = 500


class PinsInRedis:
    """A server with packed boards and seen sets, and a client."""

    def __init__(self, pid: int, path: Path) -> None:
        import hiredis

        self.pid = pid
        self._pack: Any = hiredis.pack_command
        self._reader = hiredis.Reader()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))

    def load(self, name: str, values: Sequence[tuple[int, bytes]]) -> None:
        """Set `name:number` for each value."""
        for start in range(0, len(values), _LOAD_KEYS):
            words: list[Any] = ["MSET"]
            for number, value in values[start : start + _LOAD_KEYS]:
                words += [f"{name}:{number}", value]
            self._ask(words)

    def retrieve(
        self,
        user: int,
        boards: NDArray[np.uint64],
        affinities: NDArray[np.float32],
        *,
        saved_after_s: int,
        limit: int,
    ) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
        """The best `limit` pins and their ranks (key + log2 affinity), best first, ties by pin."""
        *packed, seen_bytes = self._ask(
            ["MGET", *(f"board:{board}" for board in boards.tolist()), f"seen:{user}"]
        )
        pins = np.frombuffer(b"".join(value for value in packed if value), PIN)
        counts = np.fromiter((len(value or b"") // PIN.itemsize for value in packed), np.int64, len(packed))
        ranks = pins["key"] + np.repeat(np.log2(affinities.astype(np.float64)), counts)
        ranks[pins["saved_at"] < saved_after_s] = -np.inf
        seen = np.frombuffer(seen_bytes or b"", "<u8")
        # However many of them were seen, and a margin for pins of two boards.
        enough = min(2 * (limit + len(seen)), len(pins))
        best = np.argpartition(-ranks, enough - 1)[:enough]
        best = best[np.lexsort((pins["id"][best], -ranks[best]))]
        ids = pins["id"][best]
        places = np.minimum(np.searchsorted(seen, ids), max(len(seen) - 1, 0))
        fresh = (seen[places] != ids if len(seen) else np.ones(len(ids), bool)) & np.isfinite(ranks[best])
        best, ids = best[fresh], ids[fresh]
        _, first = np.unique(ids, return_index=True)
        first = np.sort(first)[:limit]
        return ids[first], ranks[best[first]]

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _ask(self, words: Sequence[Any]) -> Any:
        self._socket.sendall(self._pack(tuple(words)))
        while True:
            answer = self._reader.gets()
            if answer is not False:
                return answer
            self._reader.feed(self._socket.recv(_READ_BYTES))


@contextmanager
def running_pins(folder: Path) -> Iterator[PinsInRedis]:
    """An empty Redis of its own, in `folder`."""
    folder.mkdir(parents=True)
    path = folder / "redis.sock"
    server = which("redis-server") or "redis-server"
    command = [server, "--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder) as process:
        try:
            until = time.monotonic() + 10
            while not path.exists():
                if time.monotonic() > until:
                    raise TimeoutError("redis-server did not open its socket")
                time.sleep(0.02)
            redis = PinsInRedis(process.pid, path)
            yield redis
            redis.close()
        finally:
            process.terminate()
