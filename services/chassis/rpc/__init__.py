"""gRPC as every service speaks it: servers, channels, and the steps around each call.

Read in this order: `envelope.py` (what happens around a call), `server.py` and `aio_server.py`,
`status.py` (errors both ways), `channel.py` and `aio_channel.py` (calling others).
"""
