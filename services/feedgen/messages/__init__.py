"""Other services' messages as plain values, one file a service. `clients.py` calls; nothing here does."""
