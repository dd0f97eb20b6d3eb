"""What every service stands on: log, storage, columns, shards, RPC, lifecycle. Knows no service."""
