"""`feedmesh models`: the versions in a mesh's directory of models, and which of them serves.

    command.py      the commands
    versions.py     what the directory says: cards, the pointer, its history
    scorpions.py    what the running Scorpions say
    moving.py       promote and rollback: check, move the pointer, wait
    report.py       what the person sees

A model is moved by the pointer alone, which every Scorpion watches; nothing is sent to them.
"""
