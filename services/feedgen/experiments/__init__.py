"""Experiments: who is in which arm, what an arm changes in a recipe, and the file that says so.

arms.py         who is in what: buckets, dials, arms; pure
overrides.py    an arm's settings over a recipe's tables
text.py         what a file may say
checks.py       arms over the recipes and over each other, when a file is read
file.py         the file, watched
"""
