"""`feedmesh factors`: item factors, from who saved what to a version that features can name.

    pairs.py      a file of pairs, or a graph of Pixie → a matrix of boards × pins
    learning.py   the matrix → a vector for each pin, by the library `implicit`
    building.py   read, learn, write; with what the person sees meanwhile
    listing.py    which versions there are, and which the feature list names
    command.py    the commands

Serving and training read what is written here through `services/scorpion/factors/`.
"""
