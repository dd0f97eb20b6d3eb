"""A mesh on this machine: its layout in a data folder, its supervisor, who is ready."""
