"""What each version is at this moment: serving, served before, refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.cli.models.scorpions import Told, answering
from services.cli.models.versions import Version
from services.scorpion import model_files
from services.scorpion.features import FeatureList
from services.scorpion.models import ModelRefused, load_model


@dataclass(frozen=True, slots=True)
class State:
    """Of one version."""

    words: tuple[str, ...] = ()
    """`serving`, `promoted`, `previous`, `shadow`, `kept back`, `refused`, `not loaded`, or
    `serves on PROCESS` where not all agree."""
    why: str = ""
    """Of `refused` and `kept back`; else empty."""


def states_of(
    directory: Path, found: Sequence[Version], told: Sequence[Told], features: FeatureList
) -> dict[str, State]:
    """By name. Models that a running Scorpion did not load are checked here; some 0.1 s each."""
    pointer = model_files.read_serving(directory)
    previous = model_files.previous(model_files.read_history(directory))
    running = answering(told)
    states: dict[str, State] = {}
    for version in found:
        words, why = _serving(version.name, pointer, running), ""
        if version.name == previous:
            words.append("previous")
        if any(one.shadow == version.name for one in running):
            words.append("shadow")
        verdict = version.card.get("verdict", {})
        if verdict.get("refused") and not verdict.get("forced"):
            words.append("kept back")
            why = verdict["refused"]
        if running and not all(version.name in one.loaded for one in running):
            refused = _refused(version, features)
            words.append("refused" if refused else "not loaded")
            why = refused or why
        states[version.name] = State(tuple(words), why)
    return states


def _serving(name: str, pointer: str, running: Sequence[Told]) -> list[str]:
    serving = [one.process for one in running if one.serving == name]
    if name == pointer:
        # The pointer may be ahead of the processes, or they may refuse what it names.
        return ["serving"] if running and len(serving) == len(running) else ["promoted"]
    return [f"serves on {', '.join(serving)}"] if serving else []


def _refused(version: Version, features: FeatureList) -> str:
    try:
        load_model(version.folder, features)
    except ModelRefused as fault:
        return fault.message
    return ""
