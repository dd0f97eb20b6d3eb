"""A process to kill: publishes to an embedded log from several threads, and writes acknowledgements down.

python -m tests.ingest.publish_for_ever LOG_DIR ACKNOWLEDGED_FILE FIRST_REQUEST
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from services.chassis.log import embedded_store
from services.chassis.log.embedded import EmbeddedLog
from services.chassis.log.embedded_config import EmbeddedLogConfig
from services.chassis.log.embedded_metrics import LogMetrics
from services.chassis.log.log import NewRecord
from services.chassis.metrics import new_registry
from services.chassis.storage.store import Store

PARTITIONS = 8
RECORDS = 12
PUBLISHERS = 6


def main(log_dir: str, acknowledged: str, first: str) -> None:
    """Runs until it is killed. Request r is RECORDS records "r:i", spread over the partitions."""
    store = Store(Path(log_dir), embedded_store.families())
    log = EmbeddedLog(
        store,
        EmbeddedLogConfig(disk_free_bytes_min=0),
        metrics=LogMetrics(new_registry()),
        topics={"pins": PARTITIONS},
    )
    with Path(acknowledged).open("ab", buffering=0) as out:

        def publish(request: int) -> None:
            while True:
                records = [
                    NewRecord("pins", (request + i) % PARTITIONS, b"%d:%d" % (request, i))
                    for i in range(RECORDS)
                ]
                log.publish(records).result()
                # Unbuffered, one write: a line is there whole or not at all when we are killed.
                out.write(b"%d\n" % request)
                request += PUBLISHERS

        threads = [
            threading.Thread(target=publish, args=(int(first) + number,)) for number in range(PUBLISHERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
