"""Apiary: the follow graph.

Owns follow edges both ways, owners and their boards, interests, and what users hide.
Follows topic `graph`; calls the Apiary hosts of followed owners that live elsewhere.
Refuses users and targets of shards that this process does not serve.
Read `graph.py` (what is followed), then `ingest.py` over `draft.py` (how edges change), then `service.py`.
"""
