"""Features and scores as tables for people, and as documents for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from services.cli.features.scored import Scored, Share
from services.cli.features.sources import Described
from services.cli.why import age_words
from services.scorpion.features import Feature, Transform


def list_table(features: Sequence[Described]) -> Table:
    """What is declared; a feature whose source nobody declares is red, with what to do below it."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("feature", no_wrap=True)
    # The columns that may wrap: a narrow terminal cuts no name and no number.
    table.add_column("from", ratio=1)
    table.add_column("transform", max_width=14)
    table.add_column("default", justify="right", no_wrap=True)
    table.add_column("type", no_wrap=True)
    for one in features:
        feature = one.feature
        row = (feature.name, one.words, _transform(feature), f"{feature.default:g}", str(feature.type))
        table.add_row(*row, style="red" if one.faults else None)
        for fault in one.faults:
            # As Text: `[[schemas]]` would be markup, and vanish.
            table.add_row("", Text(f"→ {fault}"), style="red")
    return table


def list_documents(features: Sequence[Described]) -> list[dict[str, Any]]:
    """The same for machines."""
    return [
        {
            "name": one.feature.name,
            "source": one.feature.origin,
            "from": one.words,
            "transform": str(one.feature.transform),
            **_bounds(one.feature),
            "default": one.feature.default,
            "type": str(one.feature.type),
            "digest": one.digest,
            "faults": list(one.faults),
        }
        for one in features
    ]


def score_table(scored: Scored, declared: Sequence[Described], names: Sequence[str]) -> Table:
    """What the score is made of, the greatest part first; `names` are shown, or all when it is empty.

    `declared` is our list, which says where a feature comes from; that of the mesh may be another, so what
    has another origin there is shown by that.
    """
    words = {(one.feature.name, one.feature.origin): one.words for one in declared}
    shown = shown_shares(scored, names)
    table = Table(box=None, pad_edge=False, header_style="dim", show_footer=True, footer_style="bold")
    table.add_column("feature", footer="sum = score", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("adds", footer=f"{scored.score:+.4f}", justify="right", no_wrap=True)
    table.add_column("from", ratio=1)
    table.add_column("age", justify="right", no_wrap=True)
    for share in shown:
        table.add_row(
            share.name,
            Text(f"{share.value:.6g}", style="dim" if share.defaulted else ""),
            f"{share.adds:+.4f}",
            words.get((share.name, share.origin), share.origin),
            "default" if share.defaulted else age_words(share.age_ms),
        )
    others = len(scored.shares) - len(shown)
    if others:
        adds = scored.added_up - scored.expected - sum(share.adds for share in shown)
        table.add_row(f"{others} more", "", f"{adds:+.4f}", "", "", style="dim")
    table.add_row(
        "expected", "", f"{scored.expected:+.4f}", "of a pin of which nothing is known", "", style="dim"
    )
    return table


def score_document(
    scored: Scored, names: Sequence[str], *, user: int, pin: int, board: int
) -> dict[str, Any]:
    """The same for machines. Ids are strings: they have 64 bits, more than JSON's numbers."""
    return {
        "user": str(user),
        "pin": str(pin),
        "board": str(board) if board else None,
        "model": scored.model,
        "score": scored.score,
        "expected": scored.expected,
        "added_up": scored.added_up,
        "features": [
            {
                "name": share.name,
                "source": share.origin,
                "value": share.value,
                "defaulted": share.defaulted,
                "age_ms": share.age_ms if share.age_ms >= 0 else None,
                "adds": share.adds,
            }
            for share in shown_shares(scored, names)
        ],
    }


def shown_shares(scored: Scored, names: Sequence[str]) -> list[Share]:
    """Those that are asked for, or all; the greatest part first, whatever its sign."""
    shares = [share for share in scored.shares if not names or share.name in names]
    return sorted(shares, key=lambda share: -abs(share.adds))


def _transform(feature: Feature) -> str:
    if feature.transform is Transform.CLIP:
        return f"clip {feature.low:g} to {feature.high:g}"
    return "" if feature.transform is Transform.IDENTITY else str(feature.transform)


def _bounds(feature: Feature) -> dict[str, float]:
    return {"low": feature.low, "high": feature.high} if feature.transform is Transform.CLIP else {}
