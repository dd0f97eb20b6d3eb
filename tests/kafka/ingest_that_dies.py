"""The Ingest process, with a mine in it: it kills itself (-9) at one point of one transaction.

    python -m tests.kafka.ingest_that_dies MINE inside|committed [--config …]

`inside`: every record of the transaction is with the brokers, the commit was not asked for. `committed`:
Kafka has acknowledged the commit, nobody was told. It happens while the file MINE exists, which is removed
first, so the same command line starts an Ingest that lives.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from services.chassis.lifecycle import serve_leaf
from services.chassis.log.kafka.client import Producer
from services.ingest.__main__ import build
from services.ingest.config import IngestConfig


def lay(mine: Path, where: str) -> None:
    """Put the mine under aiokafka's commit."""
    commit: Callable[[Any], Awaitable[None]] = Producer.commit_transaction

    async def commit_or_die(producer: Any) -> None:
        if where == "inside":
            # Acknowledged by all brokers that must have them: the transaction lacks nothing but its end.
            await producer.flush()
            _step_on(mine)
        await commit(producer)
        if where == "committed":
            _step_on(mine)

    Producer.commit_transaction = commit_or_die


def _step_on(mine: Path) -> None:
    if mine.exists():
        mine.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    lay(Path(sys.argv[1]), sys.argv[2])
    raise SystemExit(serve_leaf("ingest", IngestConfig, build, sys.argv[3:], sharded=False))
