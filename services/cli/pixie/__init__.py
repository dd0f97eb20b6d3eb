"""`feedmesh pixie`: graphs are built, listed, removed."""
