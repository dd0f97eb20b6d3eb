"""Which host serves which shard, and how a call finds it.

Read in this order: `map.py` (the file's value), `watch.py` (swapped whole), `plan.py` (pure routing),
`router.py` and `aio.py` (the calls), `owned.py` (what this process serves), `lost.py` (what it cannot serve
any more).
"""
