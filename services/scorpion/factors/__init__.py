"""Item factors: how near a candidate is to what the user did lately, in a space learned from many users.

    space.py     learned factors → coordinates in which a user is a small system of equations; the formula
    kernels.py   a user from the pins of a signal, and the candidates' values
    files.py     a version in its folder: written whole or not at all
    factors.py   a version, mapped and checked, behind one small class

A feature names the factors and their version (`features.toml`), so another version is another feature:
models, the feature log and training tell them apart as they do all features.
Factors are learned by `feedmesh factors build`; nothing here imports what learns them.
"""

from services.scorpion.factors.factors import Factors

__all__ = ["Factors"]
