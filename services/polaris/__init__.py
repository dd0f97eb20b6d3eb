"""Polaris: the best pins of boards, by light score.

Owns, per board, the pins with the highest light score, bounded, as columns in memory over RocksDB.
Follows topic `pins`; calls nobody. Refuses boards of shards that this process does not serve.
Read `light_score.py` (what a key is), then `arena.py` (how pins lie), then `retrieval.py` (the answer).
"""
