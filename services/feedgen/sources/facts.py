"""What is known of a user when a feed begins: their graph, what they have seen, their signals.

Owns the first stage: the three are asked at the same time, each with its fallback. A graph that does not
come is taken as last known to this process, with what the user hides.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from feedmesh.type.v1 import type_pb2
from services.feedgen.answers import GraphAsk, Mesh, Signals, UserGraph
from services.feedgen.config import BudgetConfig
from services.feedgen.hidden import without_hidden
from services.feedgen.page import Ask, Ranking
from services.feedgen.run import SKIPPED, Run
from services.feedgen.sources.last_known import LastKnownGraphs

_OWN_BOARDS_MAX = 200
"""Own boards that are read: pins of the latest are what a walk may start from, and none is found anew."""


@dataclass(frozen=True)
class Facts:
    """What is known of the user."""

    graph: UserGraph | None
    """Less what is hidden; None: it could not be read, and nothing was last known."""
    last_known: bool
    """Whether the graph is not of now."""
    seen: type_pb2.BloomFilter | None
    signals: Signals


class FactsFetcher:
    """Asks for the facts of a request."""

    def __init__(self, mesh: Mesh, budget: BudgetConfig, last_known: LastKnownGraphs) -> None:
        self._mesh = mesh
        self._budget = budget
        self._last_known = last_known

    async def fetch(self, ask: Ask, run: Run) -> Facts:
        """Graph, seen and signals at the same time.

        Raises BadRequest, TokenAhead: the caller's fault, found by one of the services.
        """
        tasks = (
            asyncio.create_task(self._graph(ask, run)),
            asyncio.create_task(self._seen(ask, run)),
            asyncio.create_task(self._signals(ask, run)),
        )
        try:
            graph, seen, signals = await asyncio.gather(*tasks)
        finally:
            # When one ends the request (a bad token), the others must not run on without a reader.
            for task in tasks:
                task.cancel()
        last_known = False
        if graph is None:
            graph = self._last_known.get(ask.user)
            last_known = graph is not None
        else:
            self._last_known.keep(ask.user, graph)
        if graph is not None:
            shown = without_hidden(graph.boards, graph.hidden)
            run.count("graph", "followed_boards", len(shown))
            if len(shown) < len(graph.boards):
                run.count("graph", "hidden_boards", len(graph.boards) - len(shown))
                graph = replace(graph, boards=shown)
        return Facts(graph, last_known, seen, signals or Signals())

    async def _graph(self, ask: Ask, run: Run) -> UserGraph | None:
        return await run.stage(
            "graph",
            self._budget.fetch_share,
            lambda timeout_s: self._mesh.user_graph(ask.user, graph_ask(ask), timeout_s=timeout_s),
            instead="what is followed as last known, or popular pins, were used",
        )

    async def _seen(self, ask: Ask, run: Run) -> type_pb2.BloomFilter | None:
        seen = ask.recipe.seen
        return await run.stage(
            "seen",
            self._budget.fetch_share,
            lambda timeout_s: self._mesh.seen_filter(
                ask.user,
                window_days=seen.window_days,
                false_positive_rate=seen.false_positive_rate,
                timeout_s=timeout_s,
            ),
            instead="only this session and the client's own list keep pins from repeating",
        )

    async def _signals(self, ask: Ask, run: Run) -> Signals | None:
        if ask.ranking is not Ranking.MODEL and not ask.recipe.walks:
            run.report("signals", SKIPPED)
            return None
        return await run.stage(
            "signals",
            self._budget.fetch_share,
            lambda timeout_s: self._mesh.signals(ask.user, timeout_s=timeout_s),
            instead="made and ranked without the signals of the last minutes",
        )


def graph_ask(ask: Ask) -> GraphAsk:
    """The parts of the graph that the recipe's sources read."""
    recipe = ask.recipe
    walks = recipe.walks
    followed_max = recipe.reads("followed_boards")
    if any("followed_boards" in walk.bases or walk.new_boards_only for walk in walks):
        followed_max = max(followed_max, *(min(walk.lists_max, 2_000) for walk in walks))
    return GraphAsk(
        boards_max=followed_max,
        # Apiary answers no more than 1,000.
        interests_max=min(recipe.reads("followed_interests"), 1_000),
        own_boards_max=_OWN_BOARDS_MAX if walks else 0,
        hidden_max=recipe.seen.hidden_max,
    )
