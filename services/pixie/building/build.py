"""Building a graph from edges: the steps, and what they need.

    spill      source → files, ids of pins and boards ascending          `edge_spill.py`, `ids.py`
    sort       edges as rows, each once, removed ones left out           `external_sort.py`
    prune      boards by size and diversity, then edges of pins          `board_pruning.py`, `pin_pruning.py`
    assemble   both sides compressed, classes, order within nodes        `assembly.py`
    check      as the service does, before the version has its name      `graph.py`

Edges pass through files from step to step, so memory is `memory_bytes` for sorting and what nodes need:
about 4 to 8 bytes a node for tables of ids, 2 for its class, and, only when something is pruned or removed, 4
for its new row and 9 a board for its size and entropy. Mapped files come on top; the system takes these back.
The disk holds 16 bytes an edge as it came, 8 sorted, then 4 grouped on each side, and the graph: 24 at most
at one time (40 from the log, whose edges have times).
The same edges, attributes and options make the same arrays, in whatever order and pieces they come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.pixie.building.assembly import Assembled, assemble
from services.pixie.building.attributes import AttributeCollector, PinAttributes
from services.pixie.building.board_pruning import KeptBoards, choose_boards, facts_of
from services.pixie.building.draft import Draft, begun
from services.pixie.building.edge_spill import EdgeCounts, Spilled, present_edges, spill
from services.pixie.building.external_sort import ExternalSort
from services.pixie.building.grouped import Groups, GroupWriter, keys_of, swapped
from services.pixie.building.options import BuildOptions
from services.pixie.building.pin_pruning import kept_edges
from services.pixie.building.source import BadSource, EdgeSource, Progress, Silent
from services.pixie.graph import Graph
from services.pixie.graph_files import Manifest, map_arrays

_BLOCK_BYTES = 64


@dataclass(frozen=True, slots=True)
class Built:
    """A graph that was built."""

    folder: Path
    manifest: Manifest


def build(
    source: EdgeSource,
    graphs_dir: Path,
    options: BuildOptions,
    *,
    now_ms: int,
    suffix: str = "",
    progress: Progress | None = None,
) -> Built:
    """Make the newest version in `graphs_dir`; it is there whole, or not at all.

    `now_ms`: when, milliseconds since 1970; `suffix`: the end of the version's name.

    Raises:
        BadSource: the source cannot be read, or nothing of it is left.
        BadRequest: options out of range, or a build that runs in the folder already.
        DiskFull: there is no room for it.
        LogUnavailable, StorageFault …: whatever the source's medium raises.
    """
    options.check()
    progress = progress or Silent()
    with begun(graphs_dir, now_ms=now_ms, suffix=suffix) as draft:
        work = _Build(source, draft, options, progress)
        assembled = work.run()
        manifest = Manifest(
            version=draft.version,
            pin_count=assembled.pins.group_count,
            board_count=assembled.boards.group_count,
            edge_count=assembled.pins.edge_count,
            pin_degree_max=assembled.pin_degree_max,
            board_degree_max=assembled.board_degree_max,
            built_ms=now_ms,
            source=source.text,
            bias=str(options.bias),
            class_names=work.class_names,
            files=assembled.files,
            parameters=asdict(options),
            counts=work.counts,
        )
        advance = progress.step("checking", manifest.edge_count)
        Graph(manifest, **map_arrays(draft.folder, manifest)).check(draft.folder, sides=True)
        advance(manifest.edge_count)
        return Built(draft.complete(manifest), manifest)


class _Build:
    """One build's steps, and what they counted."""

    def __init__(self, source: EdgeSource, draft: Draft, options: BuildOptions, progress: Progress) -> None:
        self.counts: dict[str, int] = {}
        self.class_names: tuple[str, ...] = ("",)
        self._source = source
        self._draft = draft
        self._options = options
        self._progress = progress
        self._memory = options.memory_bytes // 2
        """Of one sort: at most two are at work."""
        self._edges = EdgeCounts()

    def run(self) -> Assembled:
        """All steps."""
        spilled = spill(
            self._source, self._draft.spill, memory_bytes=self._options.memory_bytes, progress=self._progress
        )
        attributes = self._attributes(spilled)
        by_pin = self._pruned(spilled, attributes) if self._options.prunes else self._present(spilled)
        assembled = assemble(
            by_pin,
            spilled.pins,
            spilled.boards,
            attributes,
            self._draft,
            memory_bytes=self._memory,
            progress=self._progress,
        )
        self._count(spilled, assembled)
        return assembled

    def _present(self, spilled: Spilled, *, by_board: bool = False) -> Iterator[NDArray[np.uint64]]:
        """Edges in order, each once, without removed ones."""
        advance = self._progress.step("sorting edges", spilled.edge_count)
        sort = spilled.sorted_edges(by_board=by_board, memory_bytes=self._memory, advance=advance)
        advance = self._progress.step(
            f"merging edges by {'board' if by_board else 'pin'}", spilled.edge_count
        )
        yield from present_edges(
            sort.merged(),
            spilled.boards,
            self._source.deleted_boards(),
            self._edges,
            advance,
            by_board=by_board,
        )

    def _pruned(self, spilled: Spilled, attributes: PinAttributes | None) -> Iterator[NDArray[np.uint64]]:
        """Edges by pin, without those that are pruned."""
        topics = attributes.topics if attributes is not None else None
        boards = self._grouped("all-boards", self._present(spilled, by_board=True))
        advance = self._progress.step("weighing boards", boards.edge_count)
        facts = facts_of(
            boards,
            len(spilled.boards),
            attributes,
            self._draft.spill,
            memory_bytes=self._options.memory_bytes,
            advance=advance,
        )
        kept = choose_boards(facts, self._options)
        self._count_boards(kept)
        by_pin = self._by_pin(boards, kept)
        if self._options.pin_degree_power >= 1:
            yield from by_pin
            return
        pins = self._grouped("all-pins", by_pin)
        advance = self._progress.step("pruning edges of pins", pins.edge_count)
        kept_count = 0
        power = self._options.pin_degree_power
        for keys in kept_edges(pins, facts, topics, power, memory_bytes=self._memory, advance=advance):
            kept_count += keys.size
            yield keys
        self.counts["edges_pruned_of_pins"] = pins.edge_count - kept_count
        pins.remove()

    def _by_pin(self, boards: Groups, kept: KeptBoards) -> Iterator[NDArray[np.uint64]]:
        """Edges of the boards that stay, by pin."""
        advance = self._progress.step("sorting edges by pin", boards.edge_count)
        sort = ExternalSort(self._draft.spill / "by-pin.runs", memory_bytes=self._memory)
        for block in boards.blocks(max(1, self._memory // _BLOCK_BYTES)):
            of_kept = np.repeat(kept.kept[block.rows], np.diff(block.starts))
            sort.add(swapped(keys_of(block)[of_kept]))
            advance(block.edges.size)
        self.counts["edges_of_boards_left_out"] = boards.edge_count - sort.added_count
        boards.remove()
        advance = self._progress.step("merging edges by pin", sort.added_count)
        for piece in sort.merged():
            advance(piece.keys.size)
            yield piece.keys

    def _grouped(self, name: str, edges: Iterator[NDArray[np.uint64]]) -> Groups:
        writer = GroupWriter(self._draft.spill, name)
        for keys in edges:
            writer.append(keys)
        return writer.finish()

    def _attributes(self, spilled: Spilled) -> PinAttributes | None:
        chunks = self._source.attributes() if self._options.wants_attributes else None
        if chunks is None:
            return None
        advance = self._progress.step("reading attributes", None)
        collector = AttributeCollector(self._draft.spill, memory_bytes=self._memory)
        for chunk in chunks:
            collector.add(chunk)
            advance(chunk.pins.size)
        advance = self._progress.step("placing attributes", None)
        attributes = collector.finish(spilled.pins, self._options.bias, advance)
        self.class_names = attributes.class_names
        self.counts["pins_with_attributes"] = attributes.known_count
        return attributes

    def _count_boards(self, kept: KeptBoards) -> None:
        self.counts["boards_too_small"] = kept.too_small_count
        self.counts["boards_too_large"] = kept.too_large_count
        self.counts["boards_too_diverse"] = kept.diverse_count

    def _count(self, spilled: Spilled, assembled: Assembled) -> None:
        self.counts["edges_read"] = spilled.edge_count
        self.counts["edges_repeated"] = spilled.edge_count - self._edges.distinct
        self.counts["edges_removed"] = self._edges.removed
        self.counts["pins_left_out"] = len(spilled.pins) - assembled.pins.group_count
        self.counts["boards_left_out"] = len(spilled.boards) - assembled.boards.group_count
        if not assembled.pins.edge_count:
            raise BadSource(f"no edge of {self._source.text} is left: {self.counts}")
