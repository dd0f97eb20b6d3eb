"""Ingest: the one door for writes. Events come in, durable records go out; the log is served from here."""
