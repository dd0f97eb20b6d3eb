"""Rockstore: versioned objects by kind and id, and their feature rows as matrices.

Follows the topic `objects` and is the only writer of its store. Refuses to interpret what it stores: an
object is bytes of a known kind, a row is columns of a declared schema.
Read `schema.py` (rows and their upgrade), `cells.py` (which version stays), `store.py` (keys and bytes),
`ingest.py` (log to store), `rows.py` (reads of rows), `service.py` (requests); `loads/` for loaded rows.
"""
