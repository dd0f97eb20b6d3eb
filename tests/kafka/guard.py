"""Processes that end with the test process, however that ends: also by kill -9, also between two lines of it.

The guard is a tiny shell that reads a pipe. Each process says its own id into the pipe before it becomes what
it is to be, so there is no moment at which it runs and the guard does not know it. When every writer is gone,
a forked copy of the test process included, the guard kills what it still knows. It removes no folders.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

_GUARD: Final = """
known=
while read -r what pid; do
  kept=
  for other in $known; do [ "$other" = "$pid" ] || kept="$kept $other"; done
  known=$kept
  [ "$what" = started ] && known="$known $pid"
done
[ -z "$known" ] || kill -9 $known
"""
_ANNOUNCED: Final = 'echo started $$ >&0; exec "$@" < /dev/null'
"""The pipe is its stdin until then: a descriptor that every shell can close, whatever its number was here."""


class Guard:
    """Starts processes, and kills those that it was not told to forget when this process is gone."""

    def __init__(self) -> None:
        # A session of its own: Ctrl-C in a terminal reaches the test process alone, which then cleans up.
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD], stdin=subprocess.PIPE, start_new_session=True
        )

    def start(self, command: Sequence[str], *, cwd: Path, log: Path) -> subprocess.Popen[bytes]:
        """Start a process whose words are appended to `log`; the id is the command's own."""
        with log.open("ab") as words:
            return subprocess.Popen(
                ["/bin/sh", "-c", _ANNOUNCED, "sh", *command],
                cwd=cwd,
                stdin=self._pipe,
                stdout=words,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def forget(self, pid: int) -> None:
        """Call it between the signal that ends the process and `wait`, while its id is nobody else's yet."""
        self._pipe.write(f"ended {pid}\n".encode())
        self._pipe.flush()

    def close(self) -> None:
        """End the guard, which kills what it was not told to forget."""
        self._pipe.close()
        self._shell.wait(10)

    @property
    def _pipe(self) -> IO[bytes]:
        assert self._shell.stdin is not None
        return self._shell.stdin
