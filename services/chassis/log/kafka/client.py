"""How this process's clients connect: aiokafka's arguments, made from `KafkaConnection`.

The one place where credentials are read; they are read from files at every connect, so a rotated password
needs no restart. Where aiokafka may be absent, `installed.py` is asked first.
"""

from __future__ import annotations

import importlib.util
import logging
import ssl
from pathlib import Path
from typing import Any

import aiokafka

from services.chassis.errors import ConfigFaults, LogUnavailable
from services.chassis.log.kafka.config import KafkaConnection

# Its warnings repeat several times a second while a broker is away; ours say the same once an attempt.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

Consumer = aiokafka.AIOKafkaConsumer
Producer = aiokafka.AIOKafkaProducer
Place = aiokafka.TopicPartition


def connection_options(connection: KafkaConnection, *, name: str) -> dict[str, Any]:
    """What every aiokafka client takes.

    Raises:
        ConfigFaults: TLS files do not fit together; the package for Kerberos is not installed.
        LogUnavailable: the password's file cannot be read at present.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": connection.bootstrap,
        "client_id": name,
        "security_protocol": connection.security.upper(),
        "request_timeout_ms": connection.request_timeout_ms,
        "retry_backoff_ms": connection.retry_backoff_ms,
        "metadata_max_age_ms": connection.metadata_age_ms_max,
        "connections_max_idle_ms": connection.idle_ms_max,
    }
    if connection.security.endswith("ssl"):
        options["ssl_context"] = _tls(connection)
    if connection.sasl_mechanism == "GSSAPI" and importlib.util.find_spec("gssapi") is None:
        raise ConfigFaults(["connection.sasl_mechanism = GSSAPI needs a package: pip install gssapi"])
    if connection.sasl_mechanism:
        options["sasl_mechanism"] = connection.sasl_mechanism
        options["sasl_kerberos_service_name"] = connection.sasl_kerberos_service
        if connection.sasl_password_file is not None:
            options["sasl_plain_username"] = connection.sasl_username
            options["sasl_plain_password"] = _secret(connection.sasl_password_file)
    return options


def _tls(connection: KafkaConnection) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=connection.tls_ca_file)
        context.check_hostname = connection.tls_check_hostname
        if connection.tls_cert_file is not None:
            password = connection.tls_key_password_file
            context.load_cert_chain(
                connection.tls_cert_file,
                connection.tls_key_file,
                password=_secret(password) if password is not None else None,
            )
    except (OSError, ValueError) as fault:
        raise ConfigFaults(
            [f"connection.tls_*: {fault}; each must be PEM, and key and certificate a pair"]
        ) from fault
    return context


def _secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as fault:
        # It could be read when the process started, and may be about to be replaced.
        raise LogUnavailable(f"{path} cannot be read: {fault}") from fault
