"""The ranking model's inside: a LightGBM text model, scored by kernels of our own. Imports no LightGBM.

    model_text.py     text → `Trees`, or a refusal with the reason
    columns.py        which byte columns the trees compare
    bins.py           features → bytes, and into blocks of rows
    groups.py         trees → entries by byte of the leaf mask, the layout that is scored
    kernel.py         128 or 256 rows at once through all trees, in vector registers
    output.py         raw score → what the objective means by it
    decisions.py      which way a row goes at a node: the slow scorer that the others are tested with
    contributions.py  what each feature adds to a score, exactly; contribution_kernels.py is its inside
    forest.py         all of it behind one small class; warming.py compiles it

Pure: no I/O, no clock, nothing but numpy and numba. Algorithm: QuickScorer (Lucchese et al., SIGIR 2015),
by bytes as RapidScorer (Ye et al., KDD 2018), with rows in the lanes.
"""

from services.scorpion.forest.forest import Forest

__all__ = ["Forest"]
