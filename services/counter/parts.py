"""A large request on several threads: its entities in parts, each with a kernel that runs without the GIL.

The caller takes the first part, and every part that no thread has begun when it is done: it never waits for
a queue, only for parts that run. So the threads may be few, and shared by all requests: in a busy process a
request is simply answered by its own thread.
Each part writes rows of its own, so the answer has the same bits as on one thread.
Two parts of 10,000 entities took 0.44 ms instead of 0.59 while a core was free, for a quarter more CPU; with
none free, 0.04 to 0.1 ms more than alone. So the default part is larger.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise


class Parts:
    """Threads of one process that help with large requests; they start when they are first needed."""

    def __init__(self, *, part_entities: int, threads: int) -> None:
        """`part_entities`: least size of a part, at least 1. `threads`: beside the caller's own; 0: none."""
        self._part_entities = part_entities
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "counter-read") if threads else None

    def sum(self, count: int, work: Callable[[slice], int]) -> int:
        """`work` for slices that make up 0 … count, added up. Raises what `work` raises, after all parts."""
        parts, pool = self._cut(count), self._pool
        if pool is None or len(parts) == 1:
            return sum(map(work, parts))
        first, *others = parts
        shared = [(pool.submit(work, part), part) for part in others]
        try:
            total = work(first)
            # From the last one: the threads begin at the front.
            for future, part in reversed(shared):
                if future.cancel():
                    total += work(part)
        finally:
            # Whoever calls may let go of the columns afterwards: nothing may still run.
            running = [future for future, _ in shared if not future.cancel()]
            wait(running)
        return total + sum(future.result() for future in running)

    def close(self) -> None:
        """End the threads; later calls run on the caller's alone."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def _cut(self, count: int) -> list[slice]:
        """Equal parts, as many as there are threads, unless they would be smaller than a part may be."""
        part_count = max(1, min(count // self._part_entities, 1 + self._threads))
        bounds = [count * part // part_count for part in range(part_count + 1)]
        return [slice(start, end) for start, end in pairwise(bounds)]
