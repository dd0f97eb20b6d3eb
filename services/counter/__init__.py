"""Counter: counts per entity, tens of thousands of them in one call.

Follows the topic `counts` and is the only writer of its store. Counts in uint32 and float32, answers in
float16. Refuses to know what an entity is; in this mesh it is a pin.
Read `counters.py` (what is counted), `table.py` and `kernels.py` (the counts in memory), `row_kernels.py` and
`window_kernels.py` (one row's arithmetic), `parts.py` (large requests), `layout.py` and `store.py` (the rows
on disk), `ingest.py` (log to both), `top.py`, `service.py` (requests).
"""
