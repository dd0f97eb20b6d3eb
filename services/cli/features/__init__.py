"""`feedmesh features`: what the models are given, and why a pin has its score.

sources.py   where each feature comes from, in words, and whether anybody declares that source
candidate.py the request that a feed would make for one pin
scored.py    what Scorpion says of it: values, ages, what each feature adds
tables.py    what the person sees, and the same for machines
"""
