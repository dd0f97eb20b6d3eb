"""The demo's world: pictures, people, boards and an audience, all drawn from a seed.

Everything here is pure: no service, no proto, no network. What loads it into a running mesh is elsewhere in
`services.cli`. Where next: `world.py`, then `audience.py`.
"""
