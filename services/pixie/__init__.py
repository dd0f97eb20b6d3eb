"""Pixie: pins and boards by random walks on the graph of saves.

Owns the pin-board graph, whole, mapped from a folder. The graph is built offline (`building/`), by
`feedmesh pixie build`. Read `graph.py` (what it is), then `building/build.py` (how it is made).
"""
