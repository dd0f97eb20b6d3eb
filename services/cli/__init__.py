"""The `feedmesh` command: the one place that may know every service."""
