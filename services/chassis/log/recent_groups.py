"""The groups that were committed last, in memory, so that a tail at the tip touches nothing but them.

A tail that waits is woken once per group and looks only at the partitions of that group: it never scans
all partitions. Bounded by bytes; a tail that is overrun reads from the disk until it is back.
The committer adds, tails read; dictionary reads need no lock, waiting does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.chassis.log.log import TopicPartition


@dataclass(frozen=True, slots=True)
class Span:
    """Records of one partition in one group: offsets are dense from `first`."""

    first: int
    values: list[bytes]


@dataclass(frozen=True, slots=True)
class Group:
    """What one commit added."""

    spans: dict[TopicPartition, Span]
    size_bytes: int


class RecentGroups:
    """Groups numbered from 0; `next_number` is the number of the group to come."""

    def __init__(self, bytes_max: int) -> None:
        self.next_number = 0
        self.size_bytes = 0
        self.closed = False
        self._bytes_max = bytes_max
        self._oldest = 0
        self._groups: dict[int, Group] = {}
        self._changed = threading.Condition()

    def add(self, group: Group, *, publish: Callable[[], None]) -> None:
        """Add a durable group. `publish` runs in the same step: whoever sees its effects sees the group."""
        with self._changed:
            publish()
            self._groups[self.next_number] = group
            self.next_number += 1
            self.size_bytes += group.size_bytes
            # The newest always stays: a group larger than the bound still reaches tails at the tip.
            while self.size_bytes > self._bytes_max and self._oldest < self.next_number - 1:
                self.size_bytes -= self._groups.pop(self._oldest).size_bytes
                self._oldest += 1
            self._changed.notify_all()

    def get(self, number: int) -> Group | None:
        """The group, or None when it was dropped (or is to come)."""
        return self._groups.get(number)

    def snapshot(self, read: Callable[[], None]) -> int:
        """Run `read` between two groups; returns the number of the next one."""
        with self._changed:
            read()
            return self.next_number

    def wait(self, number: int, *, deadline: float, stopped: Callable[[], bool]) -> None:
        """Block until group `number` is there, the log closes, `stopped`, or `deadline` (monotonic)."""
        with self._changed:
            while self.next_number <= number and not self.closed and not stopped():
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)

    def wake(self) -> None:
        """Let every waiter look again whether it should stop."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Wake every waiter for good."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
