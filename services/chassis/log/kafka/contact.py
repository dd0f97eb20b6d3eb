"""First contact with the brokers, and why there is none.

aiokafka tells its log, and nobody else, why it could not connect: all that it raises is that it could not. A
wrong password, a certificate of another authority and a wrong port must not look alike to an operator, so a
failed contact is tried once more here, address by address, for the reasons.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from aiokafka import errors
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.protocol.metadata import MetadataRequest

from services.chassis.errors import FeedmeshError, LogUnavailable
from services.chassis.log.kafka.client import connection_options
from services.chassis.log.kafka.config import KafkaConnection
from services.chassis.log.kafka.faults import LogRefused, is_refusal, text_of

_NOT_OF_A_CONNECTION = (
    "bootstrap_servers",
    "metadata_max_age_ms",
    "retry_backoff_ms",
    "connections_max_idle_ms",
)


async def start(client: Any, connection: KafkaConnection, *, name: str) -> None:
    """`client.start()`, of any of aiokafka's clients.

    Raises:
        LogRefused: a broker answers, and refuses the connection.
        LogUnavailable: none of `connection.bootstrap` can be reached; the text says why for each.
        KafkaError: the client failed later.
    """
    try:
        await client.start()
    except errors.KafkaConnectionError as fault:
        reason = await _why_not(connection, name=name)
        raise reason or fault from fault


async def _why_not(connection: KafkaConnection, *, name: str) -> FeedmeshError | None:
    """Why no address can be connected to; None when one can, now."""
    options = connection_options(connection, name=name)
    for key in _NOT_OF_A_CONNECTION:
        del options[key]
    addresses = connection.bootstrap.split(",")
    hosts = collect_hosts(connection.bootstrap, randomize=False)
    faults = await asyncio.gather(*(_attempt(host, port, options) for host, port, _ in hosts))
    if not all(faults):
        return None
    by_reason: dict[str, list[str]] = {}
    for address, fault in zip(addresses, faults, strict=True):
        assert fault is not None
        by_reason.setdefault(_reason(fault, connection), []).append(address)
    text = "; ".join(f"{', '.join(named)}: {reason}" for reason, named in by_reason.items())
    if any(is_refusal(fault) for fault in faults if fault is not None):
        return LogRefused(f"Kafka refuses the connection: {text}")
    return LogUnavailable(f"Kafka is not reached: {text}")


async def _attempt(host: str, port: int, options: dict[str, Any]) -> BaseException | None:
    try:
        made = await create_conn(host, port, **options)
    except (OSError, TimeoutError, errors.KafkaError) as fault:
        return fault
    try:
        # Brokers tell their versions to anybody; whoever should have logged in first is cut off now.
        await made.send(MetadataRequest([]))
    except (OSError, TimeoutError, errors.KafkaError) as fault:
        return fault
    finally:
        made.close()
    return None


def _reason(fault: BaseException, connection: KafkaConnection) -> str:
    if isinstance(fault, TimeoutError):
        return f"no answer within {connection.request_timeout_ms} ms"
    if isinstance(fault, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted: {fault.verify_message.rstrip('.')}; see connection.tls_ca_file "
            "and tls_check_hostname"
        )
    if isinstance(fault, ssl.SSLError):
        return f"TLS fails: {text_of(fault)}; is connection.security = {connection.security} right there?"
    if isinstance(fault, errors.UnsupportedSaslMechanismError):
        return f"it does not take sasl_mechanism = {connection.sasl_mechanism}"
    if isinstance(fault, (errors.KafkaConnectionError, ConnectionResetError)):
        return (
            "it closes the connection without a word: another security protocol than connection.security = "
            f"{connection.security}, or it wants a client's certificate"
        )
    return text_of(fault)
