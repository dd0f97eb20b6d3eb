"""The loaded models: checked before they serve, swapped whole, the old one kept when the new one is bad.

A model loads when its text is whole, its features are in the declared list and mean what they meant when
it was trained, and its recorded sample gives the recorded scores. One that fails is refused with the
reason (logged, counted), and what was loaded under its name before stays. Requests take `current()` once
and use that set to their end, so a swap drops nothing.
Not checked: that a model is any good. That is `training.py`'s card, and the operator who promotes.
"""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import CorruptValue, FeedmeshError, NotFound
from services.scorpion import model_files
from services.scorpion.features import FeatureList, RowKind
from services.scorpion.forest import Forest
from services.scorpion.forest.bins import Part
from services.scorpion.metrics import ScorpionMetrics

if TYPE_CHECKING:
    from services.scorpion.forest.contributions import Contributions

SAMPLE_TOLERANCE: Final = 1e-6
"""Relative to the score, and absolute below 1: float32 scores differ by less, another model by more."""

_SHOWN_MAX = 10


class NoModel(NotFound):
    """No model serves: none was promoted, or the promoted one never passed its checks."""


class UnknownModel(NotFound):
    """The request names a model that is not loaded."""


class ModelRefused(CorruptValue):
    """A model of the directory failed its checks; the message says why."""


class Model:
    """A model that passed its checks, cut into parts by where the list's features come from."""

    def __init__(self, name: str, forest: Forest, features: FeatureList) -> None:
        self.name = name
        self.forest = forest
        self.columns = np.array([features.names.index(name) for name in forest.features], np.intp)
        """Where its features are in the list."""
        index = {int(column): place for place, column in enumerate(self.columns)}

        def part(places: NDArray[np.intp]) -> Part:
            return forest.part({index[f]: i for i, f in enumerate(places.tolist()) if f in index})

        self.row_parts: Mapping[RowKind, Part] = {
            columns.kind: part(columns.features) for columns in features.kinds
        }
        """By kind; values are those of `FeatureList.row_features`."""
        self.request_part = part(features.request_columns)
        self._lock = threading.Lock()
        self._contributions: Contributions | None = None

    @property
    def contributions(self) -> Contributions:
        """What explains its scores; made when it is first asked for. Raises NoCounts."""
        with self._lock:
            if self._contributions is None:
                from services.scorpion.forest.contributions import Contributions

                self._contributions = Contributions(self.forest.model)
            return self._contributions

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raw scores, float32 (row,), of rows of the feature list's matrix."""
        return self.forest.predict(np.ascontiguousarray(matrix[:, self.columns]))


@dataclass(frozen=True, slots=True)
class ModelSet:
    """The models at one moment. `serving` is empty when none serves."""

    models: Mapping[str, Model] = field(default_factory=dict)
    serving: Model | None = None

    def named(self, name: str) -> Model:
        """The model of that name; the serving one when the name is empty. Raises NoModel, UnknownModel."""
        if name:
            found = self.models.get(name)
            if found is None:
                known = ", ".join(sorted(self.models)[:_SHOWN_MAX]) or "none"
                raise UnknownModel(f"no model {name!r} is loaded here (loaded: {known})", model=name)
            return found
        if self.serving is None:
            raise NoModel("no model: run feedmesh train, then promote one")
        return self.serving


@dataclass(frozen=True, slots=True)
class Swap:
    """What is done around a change of the serving model."""

    prepare: Callable[[Model], None] = lambda model: None
    """Before it serves: the caches make its bytes, while the old one serves."""
    retire: Callable[[Model], None] = lambda model: None
    """When no new request takes it."""


Stamp = tuple[tuple[int, int, int], ...]


class ModelDirectory:
    """Reads a directory of models. `reload` is for one thread at a time; `current` for any."""

    def __init__(
        self,
        directory: Path,
        features: FeatureList,
        *,
        models_max: int,
        metrics: ScorpionMetrics,
        log: Any,
        swap: Swap | None = None,
    ) -> None:
        self.directory = directory
        self._features = features
        self._swap = swap or Swap()
        self._models_max = models_max
        self._metrics = metrics
        self._log = log
        self._set = ModelSet()
        self._stamps: dict[str, Stamp] = {}
        self._refused: dict[str, str] = {}
        self._faults: dict[str, str] = {}

    def current(self) -> ModelSet:
        """The models as of now; take it once per request."""
        return self._set

    def reload(self) -> None:
        """Bring the set in line with the directory; reads only models whose files changed. Never raises
        for what lies in the directory."""
        names, serving_name = self._scan()
        models: dict[str, Model] = {}
        for name in names:
            model = self._model(name)
            if model is not None:
                models[name] = model
        for gone in set(self._stamps) - set(names):
            del self._stamps[gone]
            self._refused.pop(gone, None)
        before = self._set.serving
        serving = self._serving(serving_name, models)
        if serving is not None and serving is not before:
            self._swap.prepare(serving)
        self._set = ModelSet(models=models, serving=serving)
        if before is not None and serving is not before:
            self._swap.retire(before)
            if serving is not None:
                # A wide model found no room beside the old one.
                self._swap.prepare(serving)
        self._metrics.models.set(len(models))
        self._metrics.models_refused.set(len(self._refused))
        if before is not serving:
            self._metrics.model_swaps.inc()
            self._log.warning("serving model changed", model=serving.name if serving else "")

    def _scan(self) -> tuple[list[str], str]:
        """Names to have loaded, and the name in the pointer (empty: none)."""
        try:
            serving = model_files.read_serving(self.directory)
            found = sorted(
                entry.name
                for entry in self.directory.iterdir()
                if model_files.NAME.fullmatch(entry.name) and entry.is_dir()
            )
        except (OSError, UnicodeDecodeError) as fault:
            # The disk is away for a moment: what is loaded stays.
            self._say("directory", f"the directory of models cannot be read: {fault}")
            loaded = self._set.serving
            return list(self._set.models), loaded.name if loaded else ""
        self._faults.pop("directory", None)
        # By name, newest last, as versions are named; the serving one whatever its name.
        kept = found[-self._models_max :]
        if serving in found and serving not in kept:
            kept = [serving, *kept[1:]]
        if len(kept) < len(found):
            self._say("models_max", f"{len(found) - len(kept)} models are not loaded (models_max)")
        return kept, serving

    def _model(self, name: str) -> Model | None:
        """The model as it is in the directory now, or as it was when it was last good."""
        folder = self.directory / name
        stamp = _stamp(folder)
        last = self._set.models.get(name)
        if self._stamps.get(name) == stamp:
            return last
        self._stamps[name] = stamp
        try:
            model = load_model(folder, self._features)
        except FeedmeshError as fault:
            self._refused[name] = fault.message
            self._metrics.model_refusals.inc()
            self._log.error(
                "model refused", model=name, fault=fault.message, stays="the old one" if last else "nothing"
            )
            return last
        self._refused.pop(name, None)
        self._log.info("model loaded", model=name, trees=model.forest.tree_count)
        return model

    def _serving(self, name: str, models: Mapping[str, Model]) -> Model | None:
        if not name:
            return None
        chosen = models.get(name)
        if chosen is not None:
            self._faults.pop("serving", None)
            return chosen
        reason = self._refused.get(name, "it is not in the directory")
        self._say("serving", f"model {name!r} was promoted and cannot serve: {reason}")
        return self._set.serving

    def _say(self, kind: str, fault: str) -> None:
        """Log a fault once, not at each look at the directory."""
        if self._faults.get(kind) != fault:
            self._faults[kind] = fault
            self._log.error(fault)


def load_model(folder: Path, features: FeatureList) -> Model:
    """Read and check one model. Raises ModelRefused with the reason."""
    try:
        text = (folder / model_files.MODEL).read_text(encoding="utf-8")
        card = json.loads((folder / model_files.CARD).read_text(encoding="utf-8"))
        sample = model_files.read_sample(folder / model_files.SAMPLE)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as fault:
        raise ModelRefused(f"a file cannot be read: {fault}") from fault
    if not isinstance(card, dict):
        raise ModelRefused(f"{model_files.CARD} is not a JSON object")
    if card.get("sha256", model_files.sha256(text)) != model_files.sha256(text):
        raise ModelRefused(f"{model_files.MODEL} is not the text that the card was written for")
    try:
        forest = Forest(text)
    except CorruptValue as fault:
        raise ModelRefused(fault.message) from fault
    if forest.class_count != 1:
        raise ModelRefused(f"the model gives {forest.class_count} scores a row; train it for one")
    _check_features(forest, card, features)
    _check_sample(forest, sample)
    return Model(folder.name, forest, features)


def _check_features(forest: Forest, card: Mapping[str, Any], features: FeatureList) -> None:
    unknown = [name for name in forest.features if name not in features.digests]
    if unknown:
        raise ModelRefused(f"the feature list lacks {_shown(unknown)}, which the model wants")
    digests = card.get("feature_digests", {})
    if not isinstance(digests, dict):
        raise ModelRefused("feature_digests of the card is not a JSON object")
    changed = [
        name
        for name in forest.features
        if digests.get(name, features.digests[name]) != features.digests[name]
    ]
    if changed:
        raise ModelRefused(f"{_shown(changed)} meant something else when the model was trained")


def _check_sample(forest: Forest, sample: model_files.Sample) -> None:
    if sample.rows.shape[0] == 0 or sample.rows.shape[1] != len(forest.features):
        raise ModelRefused(
            f"the sample is of shape {sample.rows.shape}; expected rows of {len(forest.features)} features"
        )
    off = np.abs(forest.predict(sample.rows).astype(np.float64) - sample.raw)
    # Written so that a NaN on either side is a failure.
    if not (off <= SAMPLE_TOLERANCE * np.maximum(1.0, np.abs(sample.raw))).all():
        raise ModelRefused(f"the recorded sample is not reproduced: off by {off.max():.3g}")


def _stamp(folder: Path) -> Stamp:
    """Changes when a file of the model does; a missing file is all zeros."""
    stamps = []
    for name in (model_files.MODEL, model_files.CARD, model_files.SAMPLE):
        try:
            stat = (folder / name).stat()
            stamps.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            stamps.append((0, 0, 0))
    return tuple(stamps)


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else ""
    return ", ".join(names[:_SHOWN_MAX]) + more
