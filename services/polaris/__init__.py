"""Polaris: the best pins of boards and of interests, by light score.

Owns, per board and per interest, the pins with the highest light score, bounded, as columns in memory over
RocksDB. Follows topic `pins`; calls nobody. Refuses boards and interests of shards that this process does not
serve. Read `light_score.py` (what a key is), then `arena.py` (how pins lie), then `lists.py` (that there are
two kinds), then `retrieval.py` (the answer).
"""
