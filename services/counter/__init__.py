"""Counter: counts per entity, tens of thousands of them in one call.

Follows the topic `counts` and is the only writer of its store. Counts in uint32 and float32, answers in
float16. Refuses to know what an entity is; in this mesh it is a pin.
Read `counters.py` (what is counted), `table.py` and `kernels.py` (the counts in memory), `layout.py` and
`store.py` (the rows on disk), `ingest.py` (log to both), `top.py`, `service.py` (requests).
"""
