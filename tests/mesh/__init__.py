"""The whole mesh as real processes on real sockets over real stores."""
