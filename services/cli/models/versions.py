"""The versions in a directory of models, as their cards tell of them.

A card may be of another hand, or absent: a version is listed with what is known of it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from services.cli.faults import UsageFault
from services.scorpion import model_files

_NEAR_MAX: Final = 3
_NEAR: Final = 0.5
"""Likeness from which on a name is suggested."""


@dataclass(frozen=True, slots=True)
class Version:
    """One model of the directory."""

    name: str
    folder: Path
    card: Mapping[str, Any]
    """Empty when there is none that can be read."""

    @property
    def metric(self) -> str:
        """Key of its NDCG."""
        return f"ndcg_at_{self.card.get('options', {}).get('ndcg_k', 10)}"

    def ndcg(self, ranking: str) -> float | None:
        """NDCG of a ranking on the held-out rows; None when it was not judged."""
        value = self.card.get("metrics", {}).get(ranking, {}).get(self.metric)
        return None if value is None else float(value)

    def minus(self, ranking: str) -> float | None:
        """Difference of the model's NDCG to that of a ranking, on the rows that both have."""
        told = self.card.get("metrics", {}).get(ranking, {}).get("model_minus", {}).get("ndcg")
        if told is not None:
            return float(told)
        mine, other = self.ndcg("model"), self.ndcg(ranking)
        return None if mine is None or other is None else mine - other

    @property
    def data_ms(self) -> tuple[int, int] | None:
        """First and last moment of its rows, judged ones included."""
        parts = [self.card[part] for part in ("training", "holdout") if part in self.card]
        if not parts:
            return None
        return min(part["first_ms"] for part in parts), max(part["last_ms"] for part in parts)


def versions(directory: Path) -> list[Version]:
    """All of them by name, so the newest last."""
    return [
        Version(name, directory / name, _card(directory / name))
        for name in model_files.model_names(directory)
    ]


def version(directory: Path, name: str) -> Version:
    """The one of that name. Raises UsageFault, with names that are near, when there is none."""
    names = model_files.model_names(directory)
    if name not in names:
        raise UsageFault(f"no model {name!r} in {directory}{near_text(name, names)}")
    return Version(name, directory / name, _card(directory / name))


def serving_version(directory: Path) -> Version:
    """The one that the pointer names. Raises UsageFault when there is none."""
    name = model_files.read_serving(directory)
    if not name:
        raise UsageFault(
            f"no model serves in {directory}; name one{near_text('', model_files.model_names(directory))}"
        )
    return version(directory, name)


def near_text(name: str, names: Sequence[str]) -> str:
    """What to say after a name that is not there."""
    if not names:
        return ", nor any other; feedmesh train makes one"
    near = difflib.get_close_matches(name, names, n=_NEAR_MAX, cutoff=_NEAR)
    near = near or [known for known in names if name and name in known][:_NEAR_MAX]
    if near:
        return f"; near it: {', '.join(near)}"
    return f"; there are {', '.join(names[-_NEAR_MAX:])}" + (" and others" if len(names) > _NEAR_MAX else "")


def _card(folder: Path) -> Mapping[str, Any]:
    try:
        card = json.loads((folder / model_files.CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}
