"""The toy's fixtures serve the tests of rpc, shards and the lifecycle."""

from __future__ import annotations

from tests.chassis.serving import channels, client_registry, serve

__all__ = ["channels", "client_registry", "serve"]
