"""Kafka's errors → ours. What passes by itself, or with another producer, is LogUnavailable.

Refusals that waiting cannot cure (authorisation, a broker that is too old) keep their text, and are
`LogRefused`: still UNAVAILABLE to callers, since the log may be set right at any moment, but said as such.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka import errors

from services.chassis.errors import ConfigFaults, FeedmeshError, LogUnavailable

_REFUSALS = (
    errors.AuthenticationFailedError,
    errors.AuthenticationMethodNotSupported,
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
    if isinstance(fault, _REFUSALS):
        return LogRefused(f"Kafka refused {doing}: {_text(fault)}")
    if isinstance(fault, (TimeoutError, asyncio.TimeoutError)):
        return LogUnavailable(f"Kafka gave no answer in time to {doing}")
    return LogUnavailable(f"Kafka failed {doing}: {_text(fault)}")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Errors of aiokafka and of the network that are raised inside come out as ours."""
    try:
        yield
    except (FeedmeshError, ConfigFaults):
        raise
    except (errors.KafkaError, OSError, TimeoutError) as fault:
        raise translate(fault, doing) from fault


def _text(fault: BaseException) -> str:
    return str(fault) or type(fault).__name__
