"""Loads: whole sets of feature rows that are prepared offline, swapped in as one, and rolled back.

`preparing.py` (columns → a folder of table files), `prepared.py` (what is in the folder), `staging.py` (the
folder onto a host's disk), `generations.py` (which load is live, and who still reads another),
`generation_files.py` (the same on the disk), `admin_service.py` (requests).
"""
