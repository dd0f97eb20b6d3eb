"""A mesh that began on one machine moves to Kafka: stop, copy, start; nothing is built again or lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.chassis.log.token import Token
from services.cli.connection import Connection
from services.cli.mesh.layout import Layout
from tests.kafka.logs import KAFKA, brokers, new_prefix
from tests.mesh.commands import feedmesh
from tests.mesh.ledger import Publisher, check
from tests.mesh.views import Views, wait_until

pytestmark = [*KAFKA, pytest.mark.mesh, pytest.mark.xdist_group("kafka-log")]


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """The folder of a mesh that `feedmesh up` starts; stopped at the end."""
    folder = tmp_path / "mesh"
    yield folder
    if folder.exists():
        feedmesh("down", "--data-dir", folder)


def test_a_mesh_goes_on_in_kafka_with_its_stores_its_tokens_and_its_dedup(
    data_dir: Path, tmp_path: Path
) -> None:
    feedmesh("up", "--data-dir", data_dir, "--ports", "auto", "--detach")
    with Connection(Layout.open(data_dir)) as connection:
        publisher = Publisher(connection, seed=5)
        publisher.start()
        wait_until(lambda: publisher.ledger.events > 400 and publisher.again > 0, "a history", timeout_s=60)
        ledger = publisher.stop()
        # Acknowledged, and sent again after the move: still the same event.
        last = publisher._recent[-1]

    (tmp_path / "kafka.toml").write_text(f'[connection]\ntopic_prefix = "{new_prefix()}"\n')
    where = ("--bootstrap", brokers(), "--kafka", tmp_path / "kafka.toml")
    refused = feedmesh("log", "copy", "--data-dir", data_dir, *where, code=2)
    assert "is the mesh running? stop it first" in refused
    feedmesh("down", "--data-dir", data_dir)
    refused = feedmesh("up", "--data-dir", data_dir, "--log", "kafka", *where, code=2)
    assert "run: feedmesh log copy --data-dir" in refused
    copied = feedmesh("log", "copy", "--data-dir", data_dir, *where)
    assert "are the same in both logs" in copied

    feedmesh("up", "--data-dir", data_dir, "--detach")
    layout = Layout.open(data_dir)
    assert layout.log.kind == "kafka"
    with Connection(layout) as connection:
        views = Views(connection)
        check(views, ledger, publisher.boards, publisher.users)
        token = connection.publish(last)
        assert Token.decode(token).log_id == Token.decode(ledger.token).log_id
        ledger.token = token
        check(views, ledger, publisher.boards, publisher.users)
