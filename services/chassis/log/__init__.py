"""The log as everyone sees it: the interface, its implementations, followers and tokens.

`log.py` is the interface; `memory.py`, `embedded.py` and `remote.py` implement it; `follower.py` turns
records into a view, with `dedup.py`; `token.py` carries positions from a write to a read.
"""
