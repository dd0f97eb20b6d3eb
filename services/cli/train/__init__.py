"""`feedmesh train`: from the log to a model that serves.

    declared.py   what serving declares: features, signals, counters, the light score, row schemas
    history.py    the log, read once and put in order of time
    replay.py     the state of every moment, and a row of features for each pin that was shown
    trained.py    fit, compare with simpler rankings, write, promote
    report.py     what the person sees

The state is made by the services' own domain code (RealPin's `SignalSet`, Counter's kernels, Polaris's
`LightScale`, Scorpion's `FeatureList`), so that a row of training has the bits that serving would have made.
"""
