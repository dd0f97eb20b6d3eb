"""Starts one Rockstore process: `python -m services.rockstore --config deploy/config/rockstore.toml`."""

from __future__ import annotations

from services.chassis.lifecycle import serve_leaf
from services.rockstore.build import build
from services.rockstore.config import RockstoreConfig

if __name__ == "__main__":
    raise SystemExit(serve_leaf("rockstore", RockstoreConfig, build))
