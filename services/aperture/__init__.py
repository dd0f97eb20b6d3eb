"""Aperture: what users have seen and done, in time buckets that freeze.

Start with `rows.py` (what is kept of an action) and `store.py` (the keyspace), then `ingest.py` for the way
in and `service.py` for the way out.
"""
