"""The forest beside others that score the same model: LightGBM itself, and trees that were compiled.

material.py   the model and the rows that all are given
turns.py      ours and LightGBM in one process, call by call in turn
peers.py      the compiled ones: an environment of its own for each, made when it is not there
side.py       one side in a process of its own; runs in any of these environments
rounds.py     all sides, process by process in turn
"""
