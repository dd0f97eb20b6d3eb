"""Columns: how hot data lies in memory and on the wire.

Owns packing (`packed.py`), the bloom filter (`bloom.py`), the hash that kernels share (`mixing.py`) and
the lock between kernels that read and the follower that writes (`guard.py`). Import from the modules:
this package imports nothing, so a service that only packs columns does not load numba.
"""
