"""The log as everyone sees it: the interface, its implementations, followers and tokens.

`log.py` is the interface; `memory.py`, `embedded.py`, `remote.py` and `kafka/` implement it, and `connect.py`
picks one; `follower.py` turns records into a view, with `dedup.py` and `losses.py`; `token.py` carries
positions from a write to a read.
"""
