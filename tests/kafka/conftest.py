"""What several files of these tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kafka.cluster import KafkaCluster


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A broker to freeze, which looks for transactions that are too old five times a second."""
    interval = "transaction.abort.timed.out.transaction.cleanup.interval.ms"
    folder = tmp_path_factory.mktemp("own")
    with KafkaCluster(
        folder, nodes=1, broker_session_timeout_ms=60_000, settings={interval: "200"}
    ) as cluster:
        yield cluster
