"""Why a Service does not work: facts in, steps out. `explain.py` is the pure core, `gather.py` and `collect.py` ask."""
