"""`feedmesh load`: rows of JSONL and CSV files become events."""
