"""Where each feature comes from, in words, and whether anybody declares that source.

A feature that reads a column, a counter or a signal of which nobody knows is computed all the same: it is its
default for every pin, in silence. So the names are compared here with what the stores' own configuration
declares, and each fault says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from services.cli.faults import UsageFault
from services.cli.train.declared import Declared
from services.cli.train.stored_rows import OBJECT_KINDS
from services.realpin.declaration import ActionType
from services.scorpion.features import BOARD_COLUMN, OWNER_COLUMN, PIN, Feature, Reduce, RowKind, Source

_WHOSE: Final = {
    Source.PIN_FEATURE: "the pin's row",
    Source.BOARD_FEATURE: "the row of its board",
    Source.OWNER_FEATURE: "the row of its owner, a user,",
    Source.USER_FEATURE: "the asking user's row",
}
_REQUEST_WORDS: Final = {
    "light_score": "light score at its board, from Polaris",
    "age_hours": "hours since it was saved to its board, from Polaris",
    "affinity": "the user's affinity to its board, from Apiary; 1 where unknown",
    "pixie_visits": "visits of Pixie's walk to it, from FeedGenerator; unknown where none was made",
    "pixie_board_visits": "visits of Pixie's walk to its board, as of pixie_visits",
    "hour_of_week": "hour of the week, 0 is Monday 00:00 UTC",
}
_REDUCE_WORDS: Final = {
    Reduce.SUM: "sum of RealPin's {} over {}",
    Reduce.MAX: "greatest of RealPin's {} over {}",
    Reduce.ANY: "1 where RealPin's {} holds {}",
}
_MATCH_WORDS: Final = {PIN: "the pin itself", BOARD_COLUMN: "its board", OWNER_COLUMN: "its owner"}
_ACTION: Final = "action"


@dataclass(frozen=True, slots=True)
class Described:
    """A feature, for people."""

    feature: Feature
    digest: str
    words: str
    """Where it comes from."""
    faults: tuple[str, ...]
    """What it reads that nobody declares, and what to do; empty: its source exists."""


def described(declared: Declared, names: Sequence[str] = ()) -> list[Described]:
    """The features of those names, or all, in the list's order. Raises UsageFault when there is no such."""
    known = declared.features.names
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageFault(f"no feature is named {', '.join(unknown)}; there are {', '.join(known)}")
    return [
        Described(
            feature,
            declared.features.digests[feature.name],
            words_of(feature, declared),
            tuple(_faults(feature, declared)),
        )
        for feature in declared.features.features
        if not names or feature.name in names
    ]


def words_of(feature: Feature, declared: Declared) -> str:
    """Where a feature comes from."""
    match feature.source:
        case Source.COUNT:
            return f"{feature.of} of the pin, from Counter"
        case Source.RATIO:
            return f"{feature.of} / ({feature.per} + {feature.smoothing:g}) of the pin, from Counter"
        case Source.CANDIDATE | Source.CONTEXT:
            return _REQUEST_WORDS.get(feature.of, f"column {feature.of} that comes with the request")
        case Source.SIGNAL:
            return _signal_words(feature, declared)
        case Source.FACTORS:
            return (
                f"nearness to what RealPin's {feature.signal} holds, by item factors {feature.of} of version "
                f"{feature.version}"
            )
        case _:
            return f"float column {feature.of} of {_WHOSE[feature.source]} in Rockstore"


def _signal_words(feature: Feature, declared: Declared) -> str:
    if feature.signal_id:
        of_actions = _signal_of(feature.of, declared) == _ACTION
        named = {int(action): action.name.lower() for action in ActionType} if of_actions else {}
        return f"RealPin's {feature.of} at {named.get(feature.signal_id, f'id {feature.signal_id}')}"
    matched = ", ".join(_MATCH_WORDS.get(name, name) for name in feature.match)
    return _REDUCE_WORDS[feature.reduce].format(feature.of, matched)


def _faults(feature: Feature, declared: Declared) -> Iterator[str]:
    kind = feature.source.row_kind
    if feature.source.is_column and kind is not None:
        yield from _column_faults(kind, feature.of, declared)
    implied = {Source.BOARD_FEATURE: BOARD_COLUMN, Source.OWNER_FEATURE: OWNER_COLUMN}
    wanted = [*feature.match, *([implied[feature.source]] if feature.source in implied else [])]
    yield from _id_column_faults((name for name in wanted if name != PIN), declared)
    if feature.source in (Source.COUNT, Source.RATIO):
        for name in dict.fromkeys((feature.of, feature.per)):
            if name and name not in declared.counters.names:
                yield (
                    f"counter.toml declares no counter {name}; add it to [[counters]], or read one of "
                    f"{', '.join(declared.counters.names)}"
                )
    if feature.source is Source.SIGNAL:
        yield from _signal_faults(feature.of, declared)
        if _signal_of(feature.of, declared) == _ACTION and feature.match:
            yield f"{feature.of} counts actions, not pins; look one up with id = the number of an ActionType"
    if feature.source is Source.FACTORS:
        yield from _signal_faults(feature.signal, declared)
        if _signal_of(feature.signal, declared) not in (None, PIN):
            yield f"{feature.signal} is not of pins, which alone have factors; name a signal of pins"


def _column_faults(kind: RowKind, column: str, declared: Declared) -> Iterator[str]:
    object_kind = OBJECT_KINDS[kind]
    schema = declared.schemas.newest(object_kind)
    of = object_kind.name.lower()
    if schema is None:
        yield f"rockstore.toml declares no rows of kind {of}; add [[schemas]] with the column {column}"
    elif column not in schema.features:
        yield (
            f"the newest rows of kind {of} in rockstore.toml, version {schema.version}, have no float column "
            f"{column}; declare it in version {schema.version + 1}, or read one of {_listed(schema.features)}"
        )


def _id_column_faults(columns: Iterable[str], declared: Declared) -> Iterator[str]:
    schema = declared.pin_schema
    there = schema.id_columns if schema is not None else ()
    for column in columns:
        if column not in there:
            yield (
                f"the newest rows of kind pin in rockstore.toml have no id column {column}; declare it in "
                f"the next version, or match one of {_listed(there)}"
            )


def _signal_faults(name: str, declared: Declared) -> Iterator[str]:
    if _signal_of(name, declared) is None:
        yield (
            f"realpin.toml declares no signal {name}; add it to [[signals]], or read one of "
            f"{', '.join(declared.signals.names)}"
        )


def _signal_of(name: str, declared: Declared) -> str | None:
    return next((signal.config.of for signal in declared.signals.signals if signal.name == name), None)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
