"""Pixie as a process: `python -m services.pixie --config deploy/config/pixie.toml`."""

from __future__ import annotations

from feedmesh.pixie.v1 import pixie_pb2_grpc
from services.chassis.lifecycle import Host, Leaf, serve_leaf
from services.chassis.watched_folder import WatchedFolder
from services.pixie.config import PixieConfig
from services.pixie.live_graph import LiveGraph
from services.pixie.metrics import PixieMetrics
from services.pixie.service import PixieServicer
from services.pixie.walkers import Walkers
from services.pixie.warming import warm as warm_kernels


def build(config: PixieConfig, host: Host) -> Leaf:
    """Pixie in its surroundings."""
    metrics = PixieMetrics(host.registry)
    live = LiveGraph(config.graphs_dir, verify=config.verify_graphs, metrics=metrics, log=host.log)
    # A version appears by one rename; what goes on inside drafts is nothing to wake for.
    watch = WatchedFolder("graphs", live, scan_ms=config.graphs_scan_ms, within=False, log=host.log)
    walkers = Walkers(
        visit_slots=config.visit_slots,
        threads=config.walk_threads,
        parallel_steps_min=config.parallel_steps_min,
    )
    servicer = PixieServicer(live, walkers, metrics, config=config)

    def warm() -> None:
        warm_kernels()
        watch.start()

    def close() -> None:
        watch.stop()
        walkers.close()

    add = pixie_pb2_grpc.add_PixieServiceServicer_to_server
    return Leaf([(add, servicer, "feedmesh.pixie.v1.PixieService")], warm=warm, close=close)


if __name__ == "__main__":
    # Whoever has the graph can answer for any pin: hosts are replicas.
    raise SystemExit(serve_leaf("pixie", PixieConfig, build, sharded=False))
