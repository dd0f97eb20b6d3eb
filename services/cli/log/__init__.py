"""`feedmesh log`: look at the log, at who is behind, at dead letters; move a log into Kafka.

`command.py` registers the commands; `opening.py` finds the log of a data folder, whichever kind it is.
"""
