"""The event loop that aiokafka lives on: one thread, asked from others.

The rest of a service is threads. A call crosses over with `run` (waits) or `start` (does not); both cost
about 100 µs, so whoever has much to say says it in one call.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from services.chassis.errors import LogUnavailable

T = TypeVar("T")
_STOP_WAIT_S = 5.0


class EventLoop:
    """A running event loop; `close` ends it. Thread-safe."""

    def __init__(self, name: str = "kafka") -> None:
        self._loop = asyncio.new_event_loop()
        # A connection that breaks is told by the call that used it; asyncio would tell it once more.
        self._loop.set_exception_handler(lambda *_: None)
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()
        self._closed = False

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `work` on the loop; its future. Raises LogUnavailable after `close`."""
        if self._closed:
            work.close()
            raise LogUnavailable("the log is closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T], *, timeout_s: float) -> T:
        """Run `work` on the loop and wait for it.

        Raises:
            LogUnavailable: it took longer than `timeout_s`, and is cancelled; or the loop was closed.
        """
        future = self.start(work)
        try:
            return future.result(timeout_s)
        except FutureTimeout:
            future.cancel()
            raise LogUnavailable(f"Kafka gave no answer within {timeout_s:.1f} s") from None
        except CancelledError:
            raise LogUnavailable("the log is closed") from None

    def close(self) -> None:
        """Cancel what still runs and end the thread. Idempotent."""
        if self._closed:
            return
        self._closed = True
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop)
        self._thread.join(_STOP_WAIT_S)
        if not self._thread.is_alive():
            self._loop.close()


async def _cancel_all() -> None:
    """Cancel every other task, wait for them a moment, stop the loop."""
    loop = asyncio.get_running_loop()
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=1.0)
    loop.call_soon(loop.stop)
