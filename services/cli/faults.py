"""Errors of the command line, and the exit codes that scripts can rely on.

0  done
1  the mesh, or something under it, failed
2  the command was used wrongly: bad arguments, files or configuration
3  the mesh is not there, or did not answer in time; the same command may work later
130  interrupted
"""

from __future__ import annotations

from typing import Final

EXIT_FAULT: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNAVAILABLE: Final = 3
EXIT_INTERRUPTED: Final = 130


class CliFault(Exception):
    """An error whose text is all that the person needs; no trace is shown."""

    exit_code = EXIT_FAULT


class UsageFault(CliFault):
    """The command was used wrongly; the text says how to use it."""

    exit_code = EXIT_USAGE


class MeshUnavailable(CliFault):
    """The mesh is not there, or did not answer in time."""

    exit_code = EXIT_UNAVAILABLE


class Interrupted(CliFault):
    """Ctrl-C."""

    exit_code = EXIT_INTERRUPTED
