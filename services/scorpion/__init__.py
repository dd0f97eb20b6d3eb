"""Scorpion: full scores of candidates by a gradient-boosted model, with the features made in the request.

Owns the declared feature list (`features.py`), the cache of static pin features (`cache.py`), the models
(`models.py`) and their training (`training.py`). Holds nothing that cannot be fetched again: any process
can score any pin, and sharding by pin only keeps the caches warm.
Read next: README.md, which names the files in the order of a request.
"""
