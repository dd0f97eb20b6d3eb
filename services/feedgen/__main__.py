"""`python -m services.feedgen --config FILE`: read config, build, serve."""

from __future__ import annotations

from feedmesh.feedgen.v1 import feedgen_pb2_grpc
from services.chassis.lifecycle import AioHost, Orchestrator, serve_orchestrator
from services.feedgen.clients import MeshClients
from services.feedgen.config import FeedgenConfig
from services.feedgen.impressions import ImpressionPublisher
from services.feedgen.metrics import FeedgenMetrics
from services.feedgen.pipeline import Feed
from services.feedgen.recipes.book import RecipeBook
from services.feedgen.served_log import ServedLog
from services.feedgen.service import FeedGeneratorService
from services.feedgen.sources.last_known import LastKnownGraphs

SERVICE_NAME = "feedmesh.feedgen.v1.FeedGeneratorService"


async def build(config: FeedgenConfig, host: AioHost) -> Orchestrator:
    """The FeedGenerator over the mesh that `host` leads to."""
    metrics, mesh = FeedgenMetrics(host.registry), MeshClients(host.router)
    impressions = ImpressionPublisher(mesh.publish, config.impressions, metrics)
    served_log = ServedLog(
        mesh.log_served,
        share=config.feature_log_share,
        queue_max=config.feature_log_queue_max,
        timeout_s=config.feature_log_timeout_ms / 1000,
        metrics=metrics,
    )
    recipes = RecipeBook.read(config, metrics)
    servicer = FeedGeneratorService(
        config=config,
        feed=Feed(mesh, config.budget, LastKnownGraphs(bytes_max=config.last_known_bytes_max)),
        recipes=recipes,
        impressions=impressions,
        served_log=served_log,
        metrics=metrics,
        clock=host.clock,
    )

    async def warm() -> None:
        recipes.start()
        impressions.start()
        served_log.start()

    async def close() -> None:
        recipes.stop()
        await served_log.stop()
        await impressions.stop()

    return Orchestrator(
        services=[(feedgen_pb2_grpc.add_FeedGeneratorServiceServicer_to_server, servicer, SERVICE_NAME)],
        warm=warm,
        close=close,
    )


if __name__ == "__main__":
    raise SystemExit(serve_orchestrator("feedgen", FeedgenConfig, build))
