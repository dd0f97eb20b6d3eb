"""`feedmesh train`: from the log to a model that serves.

    pipeline.py       the steps, and which of two origins the rows have
    feature_rows.py   ├ the feature log: rows as they were served,
    joining.py        │   joined with what people did
    declared.py       ├ or the event log. What serving declares: features, signals, counters, row schemas
    history.py        │   the log, read once and put in order of time
    replay.py         │   the state of every moment, and a row of features for each pin that was shown
    labels.py         └ what became of a pin that was shown
    trained.py        fit, judge, write with a card, promote
    judging.py        the rule by which a model may serve
    report.py         what the person sees

The state is made by the services' own domain code (RealPin's `SignalSet`, Counter's kernels, Polaris's
`LightScale`, Scorpion's `FeatureList`), so that a row of training has the bits that serving would have made.
"""
