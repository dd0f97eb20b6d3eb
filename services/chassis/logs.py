"""Structured logs to stderr: one JSON object a line, with the service and the id of the request being served.

Nothing is logged at info per request: counters say how often, the log says what was surprising. Records
of libraries that use the standard `logging` pass through the same renderer.
"""

from __future__ import annotations

import io
import logging
import sys
from typing import Any

import structlog

from services.chassis.rpc.context import current

_LIBRARY_LEVEL = logging.WARNING


class _Stderr(io.TextIOBase):
    """`sys.stderr` as of each write: who replaces it (a test, a supervisor) need not tell the loggers."""

    def write(self, text: str, /) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


_STDERR: Any = _Stderr()


def configure_logs(*, service: str, level: str, form: str) -> structlog.stdlib.BoundLogger:
    """Set the process's logging up, once, and return its root logger. `form`: json or console."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_request_id,
        structlog.processors.StackInfoRenderer(),
    ]
    renderers: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if form == "json"
        else [
            # Plain traces: the pretty ones print local variables, which hold users' data.
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(_level_number(level)),
        logger_factory=structlog.PrintLoggerFactory(_STDERR),
        cache_logger_on_first_use=False,
    )
    _configure_library_logs(shared, renderers)
    log: structlog.stdlib.BoundLogger = structlog.get_logger(service=service)
    return log


def add_request_id(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """The processor that puts the id of the request being served on a log line."""
    call = current()
    if call is not None:
        event.setdefault("request_id", call.request_id)
    return event


def _configure_library_logs(shared: list[Any], renderers: list[Any]) -> None:
    handler = logging.StreamHandler(_STDERR)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LIBRARY_LEVEL)


def _level_number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
