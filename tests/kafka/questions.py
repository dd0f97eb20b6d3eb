"""What a test asks one broker, over a plain socket: no event loop, no client that chooses a broker by itself.

aiokafka's protocol classes encode and decode. A client follows the cluster, and hides the broker that is slow
or wrong; here each broker is asked for what it believes itself. Next: `cluster.py`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from aiokafka.protocol.admin import CreateTopicsRequest_v2
from aiokafka.protocol.metadata import MetadataRequest_v5

ANSWER_S_MAX: Final = 2.0
"""A broker that is frozen takes connections and never answers."""
_CREATE_MS_MAX: Final = 10_000
_EVERY_TOPIC: Final = None


@dataclass(frozen=True)
class PartitionView:
    """One partition as one broker sees it; `leader` is -1 while there is none."""

    topic: str
    partition: int
    leader: int
    replicas: frozenset[int]
    in_sync: frozenset[int]

    @property
    def whole(self) -> bool:
        """Whether it has a leader and every replica is in sync."""
        return self.leader >= 0 and self.in_sync == self.replicas


@dataclass(frozen=True)
class ClusterView:
    """The cluster as one broker sees it."""

    nodes: frozenset[int]
    partitions: tuple[PartitionView, ...]


def view_of(address: str) -> ClusterView:
    """What the broker at `address` believes of the cluster; raises OSError if it does not answer."""
    answer = _ask(address, MetadataRequest_v5(_EVERY_TOPIC, False), timeout_s=ANSWER_S_MAX)
    return ClusterView(
        nodes=frozenset(node_id for node_id, *_ in answer.brokers),
        partitions=tuple(
            PartitionView(topic, partition, leader, frozenset(replicas), frozenset(in_sync))
            for _, topic, _, partitions in answer.topics
            for _, partition, leader, replicas, in_sync, _ in partitions
        ),
    )


def create_topic(
    address: str,
    name: str,
    *,
    partitions: int,
    replication: int,
    config: Mapping[str, str],
    validate_only: bool = False,
) -> str:
    """Ask for a topic; empty when it was made (or could be), else why not. Raises OSError without an answer.

    The answer comes from the controller: brokers may learn of the topic a moment later.
    """
    request = CreateTopicsRequest_v2(
        [(name, partitions, replication, [], list(config.items()))], _CREATE_MS_MAX, validate_only
    )
    timeout_s = ANSWER_S_MAX if validate_only else _CREATE_MS_MAX / 1000
    ((_, code, message),) = _ask(address, request, timeout_s=timeout_s).topic_errors
    return "" if code == 0 else f"error {code}: {message}"


def _ask(address: str, request: Any, *, timeout_s: float) -> Any:
    host, _, port = address.rpartition(":")
    message = request.build_request_header(correlation_id=1, client_id="tests").encode() + request.encode()
    with socket.create_connection((host, int(port)), timeout=timeout_s) as connection:
        connection.sendall(struct.pack(">i", len(message)) + message)
        with connection.makefile("rb") as answers:
            (size,) = struct.unpack(">i", _read(answers.read(4), 4))
            answer = BytesIO(_read(answers.read(size), size))
    request.parse_response_header(answer)
    return request.RESPONSE_TYPE.decode(answer)


def _read(answer: bytes, size: int) -> bytes:
    if len(answer) < size:
        raise ConnectionError(f"the broker closed after {len(answer)} of {size} bytes")
    return answer
