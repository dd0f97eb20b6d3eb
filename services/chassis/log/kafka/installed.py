"""Whether Kafka's client is installed: asked before anything that imports it."""

from __future__ import annotations

import importlib.util
from typing import Final

from services.chassis.errors import ConfigFaults

_PACKAGES: Final = ("aiokafka", "cramjam")
"""cramjam has the codecs: without it the first batch would fail."""


def check_installed() -> None:
    """Raises ConfigFaults, with what to install."""
    absent = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        raise ConfigFaults(
            [
                f"the log is Kafka, but {' and '.join(absent)} cannot be imported: pip install "
                "'feedmesh[kafka]'"
            ]
        )
