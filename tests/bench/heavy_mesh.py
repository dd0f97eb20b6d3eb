"""The mesh of the feed benchmark: its configuration, its model, and its world loaded through Publish.

Kept in `build/bench/world-…` and used again, since loading takes minutes. What a run adds (the pages that it
was served) stays: the seen sets grow by that, as they would.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from rich.console import Console
from rich.progress import Progress

from feedmesh.ingest.v1 import ingest_pb2
from feedmesh.log.v1 import event_pb2
from feedmesh.type.v1 import type_pb2
from services.cli.connection import PUBLISH, Connection
from services.cli.mesh.layout import Layout
from services.cli.options import config_dir
from services.cli.up import running_mesh
from services.scorpion.model_files import Sample, promote, write_model
from tests.bench.heavy_world import FEATURES, HeavyWorld
from tests.bench.processes import cpu_us, pids

BATCH = 1_000
COUNTERS = ("impressions", "closeups", "clicks", "saves")
TREES, LEAVES = 500, 63
ROW_CACHE_BYTES = 1 << 30
QUIET_LOOKS = 4
IDLE_SHARE = 0.05
"""Of one core: a process that uses less has nothing left to work off."""


def features_text() -> str:
    """60 static columns and 4 counts: 64 in all."""
    static = [f'[[feature]]\nname = "f{n:02d}"\nsource = "pin.f{n:02d}"\n' for n in range(FEATURES)]
    counts = [
        f'[[feature]]\nname = "c_{name}"\nsource = "count.{name}"\ntransform = "log1p"\n' for name in COUNTERS
    ]
    return "\n".join(static + counts)


def write_config(folder: Path) -> Path:
    """The shipped configuration with the benchmark's features."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in config_dir().glob("*.toml"):
        shutil.copyfile(file, folder / file.name)
    (folder / "features.toml").write_text(features_text())
    rockstore = (folder / "rockstore.toml").read_text()
    names = ", ".join(f'"f{n:02d}"' for n in range(FEATURES))
    zeros = ", ".join("0.0" for _ in range(FEATURES))
    head = rockstore[: rockstore.index("\n[[schemas]]\n")]
    # All rows in memory, as the peer's Redis has them.
    head = head.replace("row_cache_bytes = 67_108_864", f"row_cache_bytes = {ROW_CACHE_BYTES}")
    (folder / "rockstore.toml").write_text(
        f'{head}\n[[schemas]]\nkind = "pin"\nversion = 1\nfeatures = [{names}]\ndefaults = [{zeros}]\n'
        'id_columns = ["board", "owner"]\n'
    )
    return folder


def write_bench_model(models: Path) -> lightgbm.Booster:
    """500 trees of 63 leaves over the 64 columns, trained on rows of the same distribution."""
    rng = np.random.default_rng(11)
    columns = FEATURES + len(COUNTERS)
    rows = rng.standard_normal((20_000, columns)).astype(np.float32)
    rows[:, FEATURES:] = np.log1p(np.minimum(rng.zipf(1.6, (20_000, len(COUNTERS))), 60_000))
    logit = (
        rows[:, 0] * rows[:, 1] + np.sin(rows[:, 2] * 2) + 0.4 * rows[:, -1] - 0.3 * rows[:, -2] * rows[:, 5]
    )
    logit = logit + rows[:, :FEATURES] @ rng.normal(0, 0.1, FEATURES)
    labels = rng.random(20_000) < 1 / (1 + np.exp(-logit))
    names = [f"f{n:02d}" for n in range(FEATURES)] + [f"c_{name}" for name in COUNTERS]
    options: dict[str, Any] = {
        "objective": "binary",
        "num_leaves": LEAVES,
        "min_data_in_leaf": 5,
        "learning_rate": 0.05,
        "verbose": -1,
        "seed": 7,
        "deterministic": True,
    }
    booster = lightgbm.train(options, lightgbm.Dataset(rows, labels, feature_name=names), TREES)
    sample = Sample(rows[:64], np.asarray(booster.predict(rows[:64], raw_score=True), np.float64))
    write_model(models, "bench", booster.model_to_string(), {"note": "benchmark"}, sample)
    promote(models, "bench")
    return booster


def prepare(world: HeavyWorld, folder: Path, console: Console) -> Layout:
    """The loaded mesh's layout, not running."""
    done = folder / "loaded"
    if done.exists():
        # Services and knobs may have come since it was loaded.
        write_config(folder / "config")
        return Layout.open_or_create(folder, ports=None, hosts={})
    shutil.rmtree(folder, ignore_errors=True)
    layout = Layout.create(folder, ports=None, hosts={})
    config = write_config(folder / "config")
    write_bench_model(layout.models_dir)
    with running_mesh(layout, config=config) as mesh:
        mesh.wait_until_ready(console)
        began = time.monotonic()
        token = _load(world, layout, console)
        _wait(layout, token)
        seconds = time.monotonic() - began
        wait_idle(layout, console)
        console.print(f"loaded {world.pin_count:,} pins in {seconds:.0f} s")
    done.write_text(f"{seconds:.1f}\n")
    return layout


def _load(world: HeavyWorld, layout: Layout, console: Console) -> list[bytes]:
    """Publish everything, several requests in flight; the tokens of the last ones."""
    steps = list(range(0, world.pin_count, BATCH // 2))
    tokens: deque[bytes] = deque(maxlen=64)
    with Connection(layout) as connection, Progress(console=console, transient=True) as bar:
        for name, batches, count in (
            ("boards, follows, seen", _small_batches(world), None),
            ("pins", _pin_batches(world, steps), len(steps)),
        ):
            task = bar.add_task(name, total=count)
            flying: deque[Any] = deque()
            for data in batches:
                if len(flying) == 6:
                    tokens.append(flying.popleft().result().token)
                request = ingest_pb2.PublishRequest.FromString(data)
                flying.append(connection.channels.start(connection.ingest, PUBLISH, request, timeout_s=60))
                bar.advance(task)
            tokens.extend(pending.result().token for pending in flying)
    return list(tokens)


def _small_batches(world: HeavyWorld) -> Iterator[bytes]:
    events = []
    for board in range(world.board_count):
        owner = HeavyWorld.USER_BASE + 1_000_000 + board % world.owners
        data = type_pb2.Board(title=f"board {board}", owner=owner, created_ms=world.now_ms)
        put = event_pb2.PutBoard(board=HeavyWorld.BOARD_BASE + board, board_data=data)
        events.append(event_pb2.Event(id=f"b{board}", put_board=put))
    for user in range(world.heavy_users):
        user_id = HeavyWorld.USER_BASE + user
        affinities = world.affinities(user).tolist()
        for board, affinity in zip(world.heavy_boards(user).tolist(), affinities, strict=False):
            target = event_pb2.FollowTarget(board=HeavyWorld.BOARD_BASE + board)
            follow = event_pb2.Follow(user=user_id, target=target, affinity=affinity)
            events.append(event_pb2.Event(id=f"f{user}-{board}", follow=follow))
        seen = (world.seen(user) + HeavyWorld.PIN_BASE).tolist()
        for at in range(0, len(seen), 50):
            shown = event_pb2.Impressions(
                user=user_id, pins=seen[at : at + 50], type=type_pb2.ACTION_TYPE_IMPRESSION
            )
            # Spread over the window, so that they lie in many buckets, most of them frozen.
            time_ms = world.now_ms - (at * 80 * 86_400_000) // max(len(seen), 1)
            events.append(event_pb2.Event(id=f"s{user}-{at}", time_ms=time_ms, impressions=shown))
    for at in range(0, len(events), BATCH):
        yield ingest_pb2.PublishRequest(events=events[at : at + BATCH]).SerializeToString()


def _pin_batches(world: HeavyWorld, steps: list[int]) -> Iterator[bytes]:
    """Serialised requests, made by one process beside this one."""
    with ProcessPoolExecutor(1) as pool:
        waiting = deque(pool.submit(_pin_batch, world, start) for start in steps[:16])
        for start in steps[16:]:
            yield waiting.popleft().result()
            waiting.append(pool.submit(_pin_batch, world, start))
        while waiting:
            yield waiting.popleft().result()


def _pin_batch(world: HeavyWorld, start: int) -> bytes:
    end = min(start + BATCH // 2, world.pin_count)
    rows = world.features(start, end)
    boards = world.board_of_pin[start:end].tolist()
    saved = world.saved_ms[start:end].tolist()
    qualities = world.quality[start:end].tolist()
    events = []
    for at in range(end - start):
        pin, board = HeavyWorld.PIN_BASE + start + at, boards[at]
        owner = HeavyWorld.USER_BASE + 1_000_000 + board % world.owners
        board_id = HeavyWorld.BOARD_BASE + board
        put = event_pb2.PutObject(
            id=pin,
            pin=type_pb2.Pin(title=f"pin {start + at}", board=board_id, owner=owner, created_ms=saved[at]),
            features_f32=rows[at].tobytes(),
            feature_ids_u64=np.array([board_id, owner], "<u8").tobytes(),
            schema_version=1,
        )
        events.append(event_pb2.Event(id=f"o{start + at}", time_ms=saved[at], put_object=put))
        save = event_pb2.SavePin(pin=pin, board=board_id, user=owner, quality=qualities[at])
        events.append(event_pb2.Event(id=f"p{start + at}", time_ms=saved[at], save_pin=save))
    return ingest_pb2.PublishRequest(events=events).SerializeToString()


def _wait(layout: Layout, tokens: list[bytes]) -> None:
    """Until every follower has applied everything, by its own metrics."""
    from tests.bench.scrape import lag_records

    assert tokens
    until = time.monotonic() + 1_800
    while any(lag_records(process.metrics_address) for process in layout.processes):
        if time.monotonic() > until:
            raise TimeoutError("followers did not catch up")
        time.sleep(0.5)


def wait_idle(layout: Layout, console: Console) -> None:
    """Until no process works on its own any more: a load leaves millions of rows to freeze and compact."""
    running = pids(layout)
    until = time.monotonic() + 1_200
    with console.status("waiting for the stores to work off the load"):
        before, quiet = cpu_us(running), 0
        while time.monotonic() < until:
            time.sleep(4)
            after = cpu_us(running)
            idle = all(after[name] - before[name] < 4e6 * IDLE_SHARE for name in running)
            # In a row: Rockstore, which fills its rows beside serving, pauses for several seconds.
            quiet = quiet + 1 if idle else 0
            if quiet == QUIET_LOOKS:
                return
            before = after
    raise TimeoutError("a process is still at work twenty minutes after the load")


def world_folder(world: HeavyWorld) -> Path:
    """Where this world is kept."""
    root = Path(os.environ.get("FEEDMESH_BENCH_DIR", "build/bench"))
    return root / f"world-{world.pin_count}-{world.board_count}"
