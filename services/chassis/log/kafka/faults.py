"""Kafka's errors → ours. What passes by itself, or with another producer, is LogUnavailable.

Refusals that waiting cannot cure (authorisation, a broker that is too old) keep their text, and are
`LogRefused`: still UNAVAILABLE to callers, since the log may be set right at any moment, but said as such.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka import errors

from services.chassis.errors import ConfigFaults, FeedmeshError, LogUnavailable

_REFUSALS = (
    errors.AuthenticationFailedError,
    errors.AuthenticationMethodNotSupported,
    errors.SaslAuthenticationFailed,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
    ssl.SSLCertVerificationError,
    errors.ClusterAuthorizationFailedError,
    errors.TopicAuthorizationFailedError,
    errors.TransactionalIdAuthorizationFailed,
    errors.IncompatibleBrokerVersion,
    errors.UnsupportedVersionError,
)


class LogRefused(LogUnavailable):
    """The brokers answered, and will not do it: rights, passwords or versions are wrong."""


class Fenced(LogUnavailable):
    """Another process writes under this one's transactional id."""


def translate(fault: BaseException, doing: str) -> FeedmeshError:
    """The error of the tree for what went wrong while `doing`."""
    if isinstance(fault, FeedmeshError):
        return fault
    if is_refusal(fault):
        return LogRefused(f"Kafka refused {doing}: {text_of(fault)}")
    if isinstance(fault, (TimeoutError, asyncio.TimeoutError)):
        return LogUnavailable(f"Kafka gave no answer in time when asked {doing}")
    if isinstance(fault, errors.NodeNotReadyError):
        return LogUnavailable(
            f"Kafka failed {doing}: a broker is not reached at the address that it gives; is it down, or are "
            f"its advertised.listeners wrong? {text_of(fault)}"
        )
    return LogUnavailable(f"Kafka failed {doing}: {text_of(fault)}")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Errors of aiokafka and of the network that are raised inside come out as ours."""
    try:
        yield
    except (FeedmeshError, ConfigFaults):
        raise
    except (errors.KafkaError, OSError, TimeoutError) as fault:
        raise translate(fault, doing) from fault


@contextmanager
def files_may_be_replaced() -> Iterator[None]:
    """After the first contact: files that do not fit together did then, and will again; LogUnavailable."""
    try:
        yield
    except ConfigFaults as fault:
        raise LogUnavailable("; ".join(fault.faults)) from fault


def is_refusal(fault: BaseException) -> bool:
    """Whether waiting cannot cure it."""
    return isinstance(fault, _REFUSALS)


def text_of(fault: BaseException) -> str:
    """What it says, and what it is called where its text does not begin with that."""
    text, kind = str(fault), type(fault).__name__
    if not text or isinstance(fault, (errors.KafkaError, OSError)):
        return text or kind
    return f"{kind}: {text}"
