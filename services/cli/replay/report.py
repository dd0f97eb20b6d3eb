"""What `feedmesh replay` shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.cli.replay.comparison import TOP
from services.cli.replay.run import NDCG_K, Replayed
from services.cli.replay.scoring import LOGGED, TOLERANCE

_TIME: Final = "%Y-%m-%d %H:%M:%S"


def print_replayed(console: Console, replayed: Replayed, show_max: int) -> None:
    """All of it, for people."""
    asked, rows, means = replayed.asked, replayed.rows, replayed.compared.means()
    console.print(
        f"{len(rows):,} rows of {replayed.starts.size - 1:,} requests, {_time(rows.served_ms[0])} to "
        f"{_time(rows.served_ms[-1])} UTC"
        + (f"; {replayed.passed_over:,} rows of other features passed over" if replayed.passed_over else ""),
        highlight=False,
    )
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_column(style="dim")
    table.add_row("requests in the same order", _share(means["unchanged_order"]), "")
    table.add_row("Kendall's tau", _number(means["kendall_tau_b"]), "1: the same order, −1: reversed")
    table.add_row("Spearman's rho", _number(means["spearman"]), "")
    table.add_row(f"of the first {TOP}, in both", _share(means[f"top_{TOP}_overlap"]), "")
    table.add_row(
        "score difference",
        _number(means["score_difference"], signed=True),
        f"{_number(means['score_distance'])} without its sign",
    )
    console.print(f"[bold]{asked.model}[/] against [bold]{_words(asked.against)}[/]", highlight=False)
    console.print(table)
    console.print(_ndcg_text(replayed), highlight=False)
    if replayed.agreement is not None:
        console.print(_agreement_text(replayed), highlight=False)
    changed = replayed.compared.most_changed(show_max)
    if changed:
        console.print("the requests that change most:", style="dim")
        console.print(_changed_table(replayed, changed))


def as_document(replayed: Replayed, show_max: int) -> dict[str, Any]:
    """The same for machines: nothing in it depends on when or where it was made."""
    asked, rows, agreement = replayed.asked, replayed.rows, replayed.agreement
    return {
        "model": asked.model,
        "against": asked.against,
        "rows": len(rows),
        "requests": int(replayed.starts.size - 1),
        "first_ms": int(rows.served_ms[0]),
        "last_ms": int(rows.served_ms[-1]),
        "rows_of_other_features": replayed.passed_over,
        "compared": replayed.compared.means(),
        f"ndcg_at_{NDCG_K}": replayed.ndcg,
        "no_ndcg": replayed.no_ndcg,
        "taught_until_ms": replayed.taught_until_ms,
        "requests_not_later": replayed.taught_count,
        "agreement": None
        if agreement is None
        else {
            "rows_served_by_the_model": agreement.rows,
            "rows_off": agreement.off,
            "off_max": agreement.off_max,
            "tolerance": TOLERANCE,
        },
        "most_changed": [
            _changed_document(replayed, request) for request in replayed.compared.most_changed(show_max)
        ],
    }


def _changed_document(replayed: Replayed, request: int) -> dict[str, Any]:
    rows, compared = replayed.rows, replayed.compared
    row = int(replayed.starts[request])
    return {
        "request_id": str(rows.request_ids[row]),
        "served_ms": int(rows.served_ms[row]),
        # Ids have 64 bits, more than JSON's numbers.
        "user": str(rows.users[row]),
        "feed": str(rows.feeds[row]),
        "served_by": str(rows.models[row]),
        "rows": int(replayed.starts[request + 1]) - row,
        "reversed_pairs": int(compared.reversed_pairs[request]),
        "kendall_tau_b": _finite(compared.kendall[request]),
        "spearman": _finite(compared.spearman[request]),
        f"top_{TOP}_overlap": _finite(compared.overlap[request]),
        "score_difference": _finite(compared.difference[request]),
    }


def _changed_table(replayed: Replayed, requests: list[int]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("request", "served", "user"):
        table.add_column(column, overflow="fold")
    for column in ("pins", "pairs reversed", "Kendall", f"first {TOP}"):
        table.add_column(column, justify="right", no_wrap=True)
    for request in requests:
        told = _changed_document(replayed, request)
        table.add_row(
            escape(told["request_id"]),
            _time(told["served_ms"]),
            told["user"],
            str(told["rows"]),
            str(told["reversed_pairs"]),
            _number(told["kendall_tau_b"], signed=True),
            _share(told[f"top_{TOP}_overlap"]),
        )
    return table


def _ndcg_text(replayed: Replayed) -> str:
    ndcg = replayed.ndcg
    if ndcg is None:
        return f"[dim]no NDCG@{NDCG_K}: {escape(replayed.no_ndcg)}[/]"
    low, high = ndcg["interval"]
    text = (
        f"NDCG@{NDCG_K} by what people did: {ndcg['model']:.4f} to {ndcg['against']:.4f}, a difference of "
        f"{ndcg['difference']:+.4f} (95% interval {low:+.4f} to {high:+.4f}, {ndcg['requests']:,} requests)"
    )
    if replayed.taught_count:
        later = _first_second(replayed.taught_until_ms)
        text += (
            f"\n[yellow]{replayed.taught_count:,} of the requests are not later than what a model was "
            f"trained on[/],\nwhich flatters it; only later ones: --from {later}"
        )
    return text


def _agreement_text(replayed: Replayed) -> str:
    agreement, name = replayed.agreement, replayed.asked.model
    assert agreement is not None
    if not agreement.rows:
        return f"[dim]{name} served none of these rows, so its scores cannot be checked against the log[/]"
    if agreement.off:
        return (
            f"[red]{agreement.off:,} of the {agreement.rows:,} rows that {name} served do not score as "
            f"logged[/]: off by up to {agreement.off_max:.3g}"
        )
    return (
        f"[green]training and serving agree[/]: the {agreement.rows:,} rows that {name} served score as "
        f"logged (within {TOLERANCE:g}; off by {agreement.off_max:.2g} at most)"
    )


def _words(against: str) -> str:
    return "the scores as logged" if against == LOGGED else against


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(int(time_ms) / 1000, UTC).strftime(_TIME)


def _first_second(after_ms: int) -> str:
    """The first whole second after a time, as `--from` takes it."""
    return datetime.fromtimestamp(after_ms // 1000 + 1, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _number(value: float | None, *, signed: bool = False) -> str:
    return "–" if value is None else f"{value:+.4f}" if signed else f"{value:.4f}"


def _finite(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
