"""The file of experiments as the FeedGenerator sees it: watched, and swapped whole.

A change applies to the next request, so ending an experiment is one edit. A file that is refused keeps the
old experiments, is counted, and logged with every fault; a process does not start on one.
Next: `text.py` (what it may say), the chassis' `watched_file.py` (the watching).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from services.chassis.errors import ConfigFaults
from services.chassis.watched_file import WatchedFile, parsed, read_text
from services.feedgen.experiments.arms import Experiments
from services.feedgen.experiments.checks import Check
from services.feedgen.experiments.overrides import Settings, overridden
from services.feedgen.experiments.text import parse_experiments
from services.feedgen.metrics import FeedgenMetrics
from services.feedgen.recipes.files import recipe_of

_KEY: Final = "experiments_path"


class WatchedExperiments:
    """Holds the experiments in use; `start` watches their file."""

    def __init__(
        self,
        path: Path | None,
        experiments: Experiments,
        *,
        text: str,
        check: Check,
        feeds: Iterable[str],
        metrics: FeedgenMetrics,
        log: Any = None,
    ) -> None:
        self._file = WatchedFile(
            path,
            experiments,
            text=text,
            parse=partial(parse_experiments, check=check, feeds=frozenset(feeds)),
            what=_KEY,
            swapped=self._swapped,
            refused=self._refused,
        )
        self._metrics = metrics
        self._log = log if log is not None else structlog.get_logger()
        self._show(experiments)

    @classmethod
    def read(
        cls,
        path: Path | None,
        check: Check,
        metrics: FeedgenMetrics,
        *,
        feeds: Iterable[str],
        log: Any = None,
    ) -> WatchedExperiments:
        """The experiments in `path`; none without one. Raises ConfigFaults with every fault."""
        feeds = frozenset(feeds)
        text, experiments = "", Experiments.none()
        if path is not None:
            text, experiments = _read(path, check, feeds)
        return cls(path, experiments, text=text, check=check, feeds=feeds, metrics=metrics, log=log)

    def current(self) -> Experiments:
        """The experiments in use; take them once per request."""
        return self._file.current()

    def reload(self) -> bool:
        """Read the file again; True when the experiments were swapped."""
        return self._file.reload()

    def start(self) -> None:
        """Watch the file on a thread of its own; nothing without a file."""
        self._file.start("experiments")

    def stop(self) -> None:
        """Stop watching; blocks until the thread has ended, a quarter of a second at most."""
        self._file.stop()

    def _swapped(self, experiments: Experiments) -> None:
        self._metrics.experiments_reloads.labels("swapped").inc()
        self._show(experiments)
        running = {each.name: each.dial for each in experiments.all if each.has_anybody}
        self._log.warning("experiments swapped", dials=running)

    def _refused(self, error: ConfigFaults) -> None:
        self._metrics.experiments_reloads.labels("refused").inc()
        self._metrics.experiments_valid.set(0)
        self._log.error("experiments refused, the old ones stay", faults=error.faults)

    def _show(self, experiments: Experiments) -> None:
        self._metrics.experiments_valid.set(1)
        self._metrics.experiments_running.set(sum(each.has_anybody for each in experiments.all))


def read_experiments(path: Path, check: Check, *, feeds: Iterable[str]) -> Experiments:
    """The experiments in a file. Raises ConfigFaults with every fault."""
    return _read(path, check, frozenset(feeds))[1]


def recipe_check(trees: Mapping[str, Mapping[str, Any]]) -> Check:
    """What is wrong with settings over these recipes, which are tables by feed."""

    def check(feed: str, settings: Settings) -> tuple[str, ...]:
        try:
            recipe_of(feed, overridden(trees[feed], settings))
        except ConfigFaults as fault:
            return fault.faults
        return ()

    return check


def _read(path: Path, check: Check, feeds: frozenset[str]) -> tuple[str, Experiments]:
    text = read_text(path, what=_KEY)
    return text, parsed(path, text, partial(parse_experiments, check=check, feeds=feeds))
