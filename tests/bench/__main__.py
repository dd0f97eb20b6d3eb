"""`python -m tests.bench [NAME]`: the benchmarks one by one, since two at once measure each other."""

from __future__ import annotations

import importlib
import sys
import time

from tests.bench.report import publish

BENCHES = ("cache", "counts", "feed", "feeds", "forest", "log", "pixie", "retrieve", "rows", "score", "start")


def main() -> int:
    wanted = sys.argv[1:] or list(BENCHES)
    unknown = sorted(set(wanted) - set(BENCHES))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    for name in wanted:
        began = time.monotonic()
        rows, notes = importlib.import_module(f"tests.bench.{name}").run()
        publish(name, rows, [*notes, f"measured in {time.monotonic() - began:.0f} s"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
