"""Server reflection that works for grpcurl and for ghz.

ghz asks for the file that contains `package.Service.Method`; protobuf's upb pool does not find methods, so
the stock servicer answers "Symbol not found". The pool here finds them by way of their service.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection


class PoolWithMethods:
    """A descriptor pool whose symbols include methods. Everything else is the wrapped pool's."""

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802  protobuf's name
        """The file of a message, enum, service or method. Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            found = self._pool.FindServiceByName(service)
            if method not in found.methods_by_name:
                raise
            return found.file


def enable_reflection(services: Sequence[str], server: grpc.Server | grpc.aio.Server) -> None:
    """Let `server` describe `services` (full names), health and reflection itself."""
    names = [*services, "grpc.health.v1.Health", reflection.SERVICE_NAME]
    pool: Any = PoolWithMethods(descriptor_pool.Default())
    reflection.enable_server_reflection(names, server, pool=pool)
