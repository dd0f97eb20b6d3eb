"""feedmesh: the services, the chassis beneath them, and the `feedmesh` command."""
