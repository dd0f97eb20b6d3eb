"""Promote and rollback: check the model as Scorpion will, move the pointer, wait until it serves.

Where a Scorpion refuses what was checked here (another feature list, a file system that lags), the pointer
stays where it was moved to, and what served goes on serving there: the caller says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.cli.faults import CliFault, UsageFault
from services.cli.models.scorpions import Told, answering
from services.cli.models.versions import Version, version
from services.scorpion import model_files
from services.scorpion.features import FeatureList
from services.scorpion.models import ModelRefused, load_model

POLL_S: Final = 0.2

Ask = Callable[[], Sequence[Told]]


@dataclass(frozen=True, slots=True)
class Moved:
    """Where the pointer went, and who follows."""

    name: str
    before: str
    """What the pointer named; empty: nothing."""
    told: Sequence[Told]
    """What Scorpions said last."""

    @property
    def served_by(self) -> list[str]:
        """Processes that serve it."""
        return [one.process for one in self.told if one.answers and one.serving == self.name]

    @property
    def behind(self) -> list[Told]:
        """Those that answer, and serve something else."""
        return [one for one in answering(self.told) if one.serving != self.name]

    @property
    def silent(self) -> list[str]:
        """Those that do not answer: they read the pointer when they start."""
        return [one.process for one in self.told if not one.answers]


def promote_model(
    models_dir: Path, name: str, features: FeatureList, ask: Ask, *, force: str, wait_s: float
) -> Moved:
    """Let `name` serve; blocks up to `wait_s` for the Scorpions that run.

    Raises UsageFault when there is no such model or it serves already, CliFault when Scorpion would refuse
    it, or its card says that it ranks worse and there is no reason to `force` it.
    """
    chosen = version(models_dir, name)
    before = model_files.read_serving(models_dir)
    if before == name:
        running = answering(ask())
        # Where one serves something else, there is something to wait for.
        if all(one.serving == name for one in running):
            raise UsageFault(f"{name} {'serves' if running else 'is promoted'} already")
    check(chosen, features)
    refused = refusal(chosen, before)
    if refused and not force:
        raise CliFault(
            f"{name} was judged when it was trained: {refused}\n"
            f"to let it serve all the same: feedmesh models promote {name} --force 'REASON'"
        )
    if before != name:
        if refused:
            verdict = {**chosen.card["verdict"], "forced": force}
            model_files.rewrite_card(chosen.folder, {**chosen.card, "verdict": verdict})
        model_files.promote(models_dir, name)
    return Moved(name, before, wait(ask, name, wait_s=wait_s))


def roll_back(models_dir: Path, features: FeatureList, ask: Ask, *, wait_s: float) -> Moved:
    """Let the model serve that served before; blocks up to `wait_s`.

    Raises UsageFault when none did or it is gone, CliFault when Scorpion would refuse it.
    """
    before = model_files.read_serving(models_dir)
    if not before:
        raise UsageFault(f"no model serves in {models_dir}; feedmesh models promote NAME lets one")
    name = model_files.previous(model_files.read_history(models_dir))
    if not name:
        raise UsageFault(f"no model served before {before}; feedmesh models list shows what there is")
    check(version(models_dir, name), features)
    model_files.roll_back(models_dir)
    return Moved(name, before, wait(ask, name, wait_s=wait_s))


def check(chosen: Version, features: FeatureList) -> None:
    """Raises CliFault when Scorpion would refuse the model."""
    try:
        load_model(chosen.folder, features)
    except ModelRefused as fault:
        raise CliFault(f"Scorpion would refuse {chosen.name}: {fault.message}") from fault


def refusal(chosen: Version, serving: str) -> str:
    """Why the rule of `feedmesh train` refused it; empty when it did not, or when what it was worse than
    does not serve any more."""
    verdict = chosen.card.get("verdict", {})
    if verdict.get("against") == "serving" and chosen.card.get("parent") != serving:
        return ""
    return str(verdict.get("refused", ""))


def wait(ask: Ask, name: str, *, wait_s: float) -> Sequence[Told]:
    """Ask until all that answer serve `name`, or the time is over; at once when none answers."""
    until = time.monotonic() + wait_s
    while True:
        told = ask()
        if all(one.serving == name for one in answering(told)) or time.monotonic() >= until:
            return told
        time.sleep(POLL_S)
