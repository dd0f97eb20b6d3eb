"""RealPin: signals of the last minutes, aggregated along time as the configuration declares.

Start with `declaration.py` (what a signal is), then `signals.py` (the aggregation, usable offline),
`store.py`, `ingest.py` and `service.py`.
"""
