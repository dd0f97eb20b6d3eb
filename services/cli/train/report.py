"""What `feedmesh train` shows: the comparison on the held-out days, and what the model looks at."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from services.cli.train.trained import BASELINES, Outcome

_FEATURES_SHOWN = 8
_MS_PER_DAY = 86_400_000


def print_outcome(console: Console, outcome: Outcome) -> None:
    """All of it, for people."""
    card = outcome.card
    console.print(_rows_text(card), highlight=False)
    console.print(metrics_table(outcome))
    console.print(_gain_text(card["gain"]), style="dim", highlight=False)
    if outcome.kept_back:
        stays = f"; {outcome.serving_name} goes on serving" if outcome.serving_name else ""
        console.print(
            f"[yellow]not promoted[/]: {outcome.kept_back}{stays}. The model is in {outcome.folder}",
            soft_wrap=True,
        )
    else:
        console.print(f"[green]promoted[/] {outcome.name}: {outcome.folder}", soft_wrap=True)


def as_document(outcome: Outcome) -> dict[str, Any]:
    """The same for machines."""
    card = outcome.card
    return {
        "model": outcome.name,
        "folder": str(outcome.folder),
        "promoted": not outcome.kept_back,
        "kept_back": outcome.kept_back,
        "shown": card["shown"],
        "training": card["training"],
        "holdout": card["holdout"],
        "metrics": card["metrics"],
        "serving": {"model": outcome.serving_name, outcome.ndcg_name: outcome.serving_ndcg},
        "gain": card["gain"],
    }


def metrics_table(outcome: Outcome) -> Table:
    """The model beside the rankings that need no model."""
    card = outcome.card
    k, metrics = card["options"]["ndcg_k"], card["metrics"]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("ranking")
    table.add_column(f"NDCG@{k}", justify="right")
    table.add_column("AUC", justify="right")
    table.add_column("the model's NDCG is", justify="right")
    mine = metrics["model"][outcome.ndcg_name]
    _add(table, "[bold]model[/]", metrics["model"], outcome.ndcg_name, "")
    for ranking, words in BASELINES.items():
        _add(table, words, metrics[ranking], outcome.ndcg_name, _above(mine, metrics[ranking], outcome))
    if outcome.serving_ndcg is not None:
        seen = {outcome.ndcg_name: outcome.serving_ndcg, "auc": None}
        _add(table, outcome.serving_name, seen, outcome.ndcg_name, _above(mine, seen, outcome))
    return table


def _add(table: Table, words: str, seen: Mapping[str, float | None], ndcg: str, above: str) -> None:
    table.add_row(words, _number(seen[ndcg]), _number(seen["auc"]), above)


def _above(mine: float | None, seen: Mapping[str, float | None], outcome: Outcome) -> str:
    other = seen[outcome.ndcg_name]
    if mine is None or not other:
        return "–"
    share = mine / other - 1
    return f"{abs(share):.0%} {'higher' if share >= 0 else 'lower'}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _rows_text(card: Mapping[str, Any]) -> str:
    training, holdout, shown = card["training"], card["holdout"], card["shown"]
    taken = training["rows"] + holdout["rows"]
    part = "" if taken == shown["pins"] else f" (an even sample of {shown['pins']:,})"
    days = (holdout["last_ms"] - holdout["first_ms"]) / _MS_PER_DAY
    rate = holdout["positives"] / holdout["rows"]
    return (
        f"{taken:,} impressions{part}; trained on {training['rows']:,} up to {_day(training['last_ms'])}, "
        f"judged on {holdout['rows']:,} of the {days:.1f} days after it ({rate:.1%} engaged with)"
    )


def _gain_text(gain: Mapping[str, float]) -> str:
    total = sum(gain.values()) or 1.0
    shares = [f"{name} {value / total:.0%}" for name, value in list(gain.items())[:_FEATURES_SHOWN]]
    return "what it looks at, by gain: " + ", ".join(shares)


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
