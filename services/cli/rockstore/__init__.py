"""`feedmesh rockstore`: whole loads of feature rows, which of them is live, and the way back.

`command.py` (what is typed), `row_files.py` (Parquet, npz, CSV → rows), `hosts.py` (every host of a mesh).
"""
