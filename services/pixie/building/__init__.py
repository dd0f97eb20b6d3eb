"""Building a graph: edges in any order → a folder that walks can map.

Offline, by `feedmesh pixie build`; the service imports nothing of it. Read `build.py` (the steps), then
`external_sort.py` (how edges are brought into order without holding them).
"""
