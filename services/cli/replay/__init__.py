"""`feedmesh replay`: logged requests scored again with another model, and compared.

    command.py             the options
    run.py                 the steps
    scoring.py             the feature log's rows, and two models' scores of them
    comparison.py          request by request: how much the order differs
    comparison_kernels.py  rank correlations of many requests in one pass
    report.py              what the person sees

Nothing is drawn and no clock is read: the same files and models give the same bytes.
"""
