"""The main function of every process: arguments, config, signals, exit codes.

    serve_leaf("apiary", ApiaryConfig, build)                    `python -m services.apiary --config FILE`
    serve_orchestrator("feedgen", FeedgenConfig, build_async)

Exit codes: 0 stopped as asked, 1 fault, 2 the configuration is wrong (every fault is printed). SIGTERM and
SIGINT drain; during start they end the process at once, which stores survive. Read next: `leaf.py`,
`orchestrator.py` (the life between), `host.py` (what a service is given).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from services.chassis.config import load_config
from services.chassis.config_text import config_text
from services.chassis.errors import ConfigFaults
from services.chassis.host import AioHost, Following, Host, Leaf, Orchestrator, owned_shards
from services.chassis.leaf import LeafProcess
from services.chassis.logs import configure_logs
from services.chassis.orchestrator import OrchestratorProcess
from services.chassis.process import ProcessConfig
from services.chassis.shards.watch import read_map

__all__ = [
    "AioHost",
    "Following",
    "Host",
    "Leaf",
    "LeafProcess",
    "Orchestrator",
    "OrchestratorProcess",
    "ProcessConfig",
    "serve_leaf",
    "serve_orchestrator",
]

EXIT_OK: Final = 0
EXIT_FAULT: Final = 1
EXIT_CONFIG: Final = 2
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

Config = TypeVar("Config")


def serve_leaf(
    name: str,
    config_class: type[Config],
    build: Callable[[Config, Host], Leaf],
    argv: Sequence[str] | None = None,
    *,
    sharded: bool = True,
) -> int:
    """Run a threaded service until it is told to stop; returns the exit code.

    `sharded`: with a shard map, the segment `name` must list this process; False for Ingest and for services
    that serve any id.
    """
    segment = name if sharded else None
    return _main(name, config_class, argv, segment, lambda config: _run_leaf(name, config, build, segment))


def serve_orchestrator(
    name: str,
    config_class: type[Config],
    build: Callable[[Config, AioHost], Awaitable[Orchestrator]],
    argv: Sequence[str] | None = None,
) -> int:
    """Run an asyncio service until it is told to stop; returns the exit code."""
    return _main(
        name, config_class, argv, None, lambda config: asyncio.run(_run_orchestrator(name, config, build))
    )


def _main(
    name: str,
    config_class: type[Config],
    argv: Sequence[str] | None,
    segment: str | None,
    run: Callable[[Any], int],
) -> int:
    arguments = _arguments(name, argv)
    try:
        config: Any = load_config(
            config_class, path=arguments.config, env=os.environ, prefix=f"FEEDMESH_{name.upper()}"
        )
        if arguments.print_config:
            sys.stdout.write(config_text(config))
            return EXIT_OK
        if arguments.check_config:
            _check_shards(config.process, segment)
            sys.stdout.write(f"{name}: the configuration is valid\n")
            return EXIT_OK
        return run(config)
    except ConfigFaults as error:
        for fault in error.faults:
            sys.stderr.write(f"{name}: {fault}\n")
        return EXIT_CONFIG


def _arguments(name: str, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m services.{name}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file; without it, defaults")
    parser.add_argument("--check-config", action="store_true", help="report every fault, and stop")
    parser.add_argument(
        "--print-config", action="store_true", help="print the configuration in force as commented TOML"
    )
    return parser.parse_args(argv)


def _check_shards(process: ProcessConfig, segment: str | None) -> None:
    if process.shard_map is not None:
        owned_shards(process, read_map(process.shard_map), segment)


def _run_leaf(name: str, config: Any, build: Callable[[Any, Host], Leaf], segment: str | None) -> int:
    log = _prepare(name, config.process)
    leaf = LeafProcess(name, config, build, segment=segment, log=log)
    code, drained = EXIT_OK, True
    try:
        _on_signal(_raise_stopped)
        leaf.start()
        _on_signal(leaf.stopping.set)
        leaf.stopping.wait()
        log.info("stopping")
    except _StoppedAtStart:
        log.info("stopped while starting")
    except ConfigFaults:
        raise
    except Exception:
        log.exception("cannot start")
        code = EXIT_FAULT
    finally:
        _on_signal(lambda: None)
        drained = leaf.stop()
    if isinstance(leaf.fault, ConfigFaults):
        # Found when the process ran: what it was told to expect of others is not so.
        raise leaf.fault
    if leaf.fault is not None:
        log.error("stopped because of a fault", fault=str(leaf.fault))
        code = EXIT_FAULT
    return _leave(code, drained=drained)


async def _run_orchestrator(
    name: str, config: Any, build: Callable[[Any, AioHost], Awaitable[Orchestrator]]
) -> int:
    log = _prepare(name, config.process)
    process = OrchestratorProcess(name, config, build, log=log)
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, process.stopping.set)
    code = EXIT_OK
    try:
        await _first_of(process.start(), process.stopping.wait())
        await process.stopping.wait()
        log.info("stopping")
    except ConfigFaults:
        raise
    except Exception:
        log.exception("cannot start")
        code = EXIT_FAULT
    finally:
        await process.stop()
    if process.fault is not None:
        log.error("stopped because of a fault", fault=str(process.fault))
        code = EXIT_FAULT
    return code


async def _first_of(work: Coroutine[Any, Any, None], stop: Coroutine[Any, Any, Any]) -> None:
    """`work`, cancelled when `stop` ends first. Raises what `work` raises."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop)
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


def _prepare(name: str, process: ProcessConfig) -> Any:
    sys.setswitchinterval(process.switch_interval_us / 1e6)
    return configure_logs(service=name, level=process.log_level, form=process.log_format)


def _on_signal(act: Callable[[], None]) -> None:
    """`act` on SIGTERM and SIGINT from now on; nothing outside the main thread, where Python forbids it."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, lambda _number, _frame: act())


class _StoppedAtStart(BaseException):
    """Not an Exception: a `build` that guards itself with `except Exception` must not swallow it."""


def _raise_stopped() -> None:
    raise _StoppedAtStart


def _leave(code: int, *, drained: bool) -> int:
    """The exit code. Leaves at once when a call never ended: Python would wait for its thread for ever."""
    if not drained:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
