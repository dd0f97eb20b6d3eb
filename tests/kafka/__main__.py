"""`make test-kafka`: one cluster of three real brokers, and everything that must hold on it.

    python -m tests.kafka [PYTEST ARGUMENTS]

1. The log's suite and the tests of Kafka as a log, on the cluster that all workers share, and beside them the
   mesh's own tests with their logs there.
2. The faults of brokers under a mesh, one after the other: they want the machine for themselves.

The cluster ends with this process, whatever happens to it. Without Java or Maven it says so: exit code 3.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.kafka.cluster import KafkaCluster
from tests.kafka.jars import why_kafka_is_not_here
from tests.kafka.logs import BROKERS
from tests.mesh.live import KAFKA_BROKERS

EXIT_ABSENT: Final = 3
FAULTS: Final = "tests/kafka/test_mesh_faults.py"
MESH: Final = "tests/mesh"
"""The mesh's own tests; those about the embedded log alone are left out by themselves."""


def main(arguments: list[str]) -> int:
    why_not = why_kafka_is_not_here()
    if why_not:
        sys.stdout.write(f"Kafka cannot run here: {why_not}\n")
        return EXIT_ABSENT
    with tempfile.TemporaryDirectory(prefix="feedmesh-kafka-") as folder:
        with KafkaCluster(Path(folder)) as cluster:
            sys.stdout.write(f"three brokers at {cluster.bootstrap}\n")
            sys.stdout.flush()
            shared = {BROKERS: cluster.bootstrap, KAFKA_BROKERS: cluster.bootstrap}
            code = _pytest(
                # Beside three brokers there is no room for a third mesh.
                [
                    "-m",
                    "kafka or mesh",
                    "-n",
                    "2",
                    "--deselect",
                    FAULTS,
                    "tests/kafka",
                    "tests/chassis/log",
                    MESH,
                ],
                arguments,
                environment=shared,
            )
        if code:
            return code
        return _pytest(["-m", "kafka", "-n", "0", FAULTS], arguments, environment={})


def _pytest(chosen: list[str], arguments: list[str], *, environment: dict[str, str]) -> int:
    command = [sys.executable, "-m", "pytest", *chosen, *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
