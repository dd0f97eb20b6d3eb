"""What a graph is built from, by the options of `feedmesh pixie build`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.cli.connection import Connection
from services.cli.faults import UsageFault
from services.cli.log.opening import opened_log
from services.cli.mesh.layout import Layout
from services.cli.pixie.log_source import LogSource
from services.pixie.building.edge_files import EdgeFile, attributes_of, check_attributes
from services.pixie.building.source import AttributeChunk, EdgeChunk, EdgeSource


@contextmanager
def opened_source(
    data_dir: Path, *, edges: Path | None, attributes: Path | None, polaris: Sequence[Path]
) -> Iterator[EdgeSource]:
    """A file of edges, Polaris' stores, or, of neither, the log of the mesh in `data_dir`.

    Raises:
        UsageFault: both are given, or there is no mesh.
        BadSource: what is given is not there.
    """
    if edges is not None and polaris:
        raise UsageFault("--edges and --polaris are two sources: name one")
    if attributes is not None:
        check_attributes(attributes)
    if edges is not None:
        yield _with(EdgeFile(edges), attributes)
    elif polaris:
        # Late: it knows Polaris' keys from Polaris, whose kernels the other sources need not load.
        from services.cli.pixie.polaris_source import PolarisSource

        yield _with(PolarisSource(polaris), attributes)
    else:
        with Connection(Layout.open(data_dir)) as connection, opened_log(connection) as log:
            yield _with(LogSource(log, data_dir.name), attributes)


@dataclass(frozen=True)
class WithAttributes:
    """A source whose attributes are in a file."""

    source: EdgeSource
    path: Path

    @property
    def text(self) -> str:
        """Both."""
        return f"{self.source.text}, attributes of {self.path.name}"

    @property
    def edge_count(self) -> int | None:
        """As of the source."""
        return self.source.edge_count

    def edges(self) -> Iterator[EdgeChunk]:
        """As of the source."""
        return self.source.edges()

    def deleted_boards(self) -> Mapping[int, int]:
        """As of the source."""
        return self.source.deleted_boards()

    def attributes(self) -> Iterator[AttributeChunk] | None:
        """Of the file. Raises BadSource."""
        return attributes_of(self.path)


def _with(source: EdgeSource, attributes: Path | None) -> EdgeSource:
    return source if attributes is None else WithAttributes(source, attributes)
